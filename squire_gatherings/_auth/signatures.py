"""Signatures: whether a token was made with one of our keys, asked of `joserfc`."""

from functools import cache
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from squire_gatherings._auth.keys import VerifyingKey
from squire_gatherings._auth.tokens import MAX_HEADER, MAX_SIGNATURE, MAX_TOKEN, Token


class Pinned(JWSRegistry):
    """Knows the algorithms of one key, and no others.

    `joserfc` warns whenever EdDSA goes by its older name, which most issuers still use.
    """

    max_header_length = MAX_HEADER
    max_payload_length = MAX_TOKEN
    max_signature_length = MAX_SIGNATURE

    def __init__(self, algorithms: tuple[str, ...]) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)
        self._pinned = {name: self.algorithms[name] for name in algorithms}

    def get_alg(self, name: str) -> Any:
        """Return the algorithm of that name. Raises `KeyError` for any but the key's own."""
        return self._pinned[name]


@cache
def pinned(algorithms: tuple[str, ...]) -> Pinned:
    """Return what knows these algorithms alone."""
    return Pinned(algorithms)


def is_signed(token: Token, key: VerifyingKey) -> bool:
    """Whether the key has made the token's signature, by the key's own algorithm.

    Takes up to a tenth of a millisecond (docs/dependencies.md).
    """
    if token.algorithm not in key.algorithms:
        return False
    try:
        jws.deserialize_compact(token.text, key.key, registry=pinned(key.algorithms))
    except (JoseError, ValueError, KeyError, TypeError):
        return False
    return True
