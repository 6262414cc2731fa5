"""Targets: tokens, their claims, and files with keys.

Anything but a token that we have signed is `Unauthorized`.
"""

import json
from functools import cache

from squire_gatherings._auth.claims import Rules, claims_of
from squire_gatherings._auth.keys import KeyRing, VerifyingKey, keys_in
from squire_gatherings._auth.signatures import is_signed
from squire_gatherings._auth.tokens import BadToken, parse_object, parse_token
from squire_gatherings._values.errors import Unauthorized
from tests.auth.forge import (
    ALGORITHMS,
    SECRET,
    as_json,
    encoded,
    forge,
    jwk,
    public_pem,
    signer,
    token,
)
from tests.fuzz.target import Target, clear

NOW = 4_000_000_000.0


@cache
def ring() -> KeyRing:
    keys: list[VerifyingKey] = list(keys_in(SECRET))
    for algorithm in ("EdDSA", "ES256"):
        keys += keys_in(public_pem(algorithm))
    return KeyRing(keys)


@cache
def signed() -> frozenset[str]:
    """Return what we have signed, without the signatures: ES256 makes another one each time."""
    return frozenset(token(one).rpartition(".")[0] for one in ("EdDSA", "HS256", "ES256"))


def run_token(data: bytes) -> None:
    """No made-up token counts as signed, only those that the search began with."""
    text = data.decode("latin-1")
    try:
        parsed = parse_token(text)
    except BadToken as error:
        clear(error)
        return
    assert text not in repr(parsed)
    for key in ring().candidates(parsed.algorithm, parsed.kid):
        if is_signed(parsed, key):
            assert text.rpartition(".")[0] in signed(), text


def run_claims(data: bytes) -> None:
    """Check what a token with a right signature says."""
    try:
        said = parse_object(data)
    except BadToken as error:
        clear(error)
        return
    # An ordinary JSON parser reads the same.
    assert said == json.loads(data)
    for rules in (Rules(), Rules("us", "them")):
        try:
            claims = claims_of(said, 10)
            identity = claims.identity("room", rules, NOW)
        except Unauthorized as error:
            clear(error)
            continue
        assert identity.user == said["sub"]
        assert identity.role == said.get("role", "member")
        assert identity.expires_at is not None
        assert identity.expires_at > NOW
        assert rules.issuer is None or said["iss"] == rules.issuer


def says_nothing_of(data: bytes, text: str) -> None:
    """Check that no error repeats what is in a file."""
    content = data.decode("latin-1").strip()
    assert len(content) < 24 or content not in text


def run_keys(data: bytes) -> None:
    try:
        found = list(keys_in(data))
    except ValueError as error:
        says_nothing_of(data, clear(error))
        return
    assert found
    for key in found:
        assert key.algorithms
        assert set(key.algorithms) <= set(ALGORITHMS)


_claims = {"sub": "alice", "exp": NOW + 60, "gatherings": ["room", "club-*"]}
_header = encoded(as_json({"alg": "HS256", "typ": "JWT", "kid": "k"}))
_forged = f"{_header}.{encoded(as_json(_claims))}.{encoded(signer('HS256')(b''))}"

TARGETS = (
    Target(
        "token",
        run_token,
        [token("EdDSA"), token("HS256"), _forged, forge({"alg": "ES256"}, _claims, bytes), "a.b.c"],
        [f"{encoded(as_json({'alg': one}))}." for one in (*ALGORITHMS, "none")],
    ),
    Target(
        "claims",
        run_claims,
        [
            as_json(_claims),
            as_json(_claims | {"aud": "us", "iss": "them", "nbf": NOW - 1, "role": "judge"}),
            as_json(_claims | {"aud": ["us", "x"], "iss": "them", "exp": 2**70}),
            as_json(_claims | {"gatherings": ["*"], "exp": NOW - 60}),
            b'{"sub":"a","sub":"b"}',
        ],
        [
            f'"{one}"'
            for one in [
                "sub",
                "exp",
                "nbf",
                "aud",
                "iss",
                "role",
                "gatherings",
                "us",
                "them",
                "room",
            ]
        ]
        + ["NaN", "Infinity", "1e999", "\\ud800"],
    ),
    Target(
        "keys",
        run_keys,
        [
            SECRET,
            *(public_pem(one) for one in ("EdDSA", "ES256")),
            *(as_json(jwk(one)) for one in ("EdDSA", "ES256", "HS256")),
            as_json(
                {"keys": [jwk(one, kid=one, alg=one, use="sig") for one in ("EdDSA", "ES256")]}
            ),
        ],
        [
            '"keys":[',
            '"kty":"RSA"',
            '"n":"',
            '"e":"AQAB"',
            "-----BEGIN PUBLIC KEY-----\n",
            '"use":"enc"',
        ],
    ),
)
