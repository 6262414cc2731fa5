"""Signed tokens (JWT): who somebody is, and for which gatherings, as an issuer has signed it.

`carriers` finds the token in what a client sent, `tokens` takes it apart, `keys` has what its
signature is checked with, `signatures` checks it, `claims` judges what it says, and `patterns`
matches the gatherings that it is good for.
`authenticator` is the way through all of them, and `minting` makes tokens and keys for trying.

Only `keys`, `signatures` and `minting` need the extra `jwt`; nothing imports them before they are
needed.
"""
