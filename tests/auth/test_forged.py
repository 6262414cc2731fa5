"""Forged tokens: attacks that libraries have fallen for, and every changed bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings import Identity, JwtAuthenticator, Unauthorized
from squire_gatherings._auth.authenticator import NOT_VALID
from squire_gatherings._auth.tokens import MAX_TOKEN
from tests.auth.forge import (
    ALGORITHMS,
    CLAIMS,
    SECRET,
    as_json,
    by_secret,
    door,
    encoded,
    forge,
    jwk,
    private_key,
    public_der,
    public_pem,
    signer,
    token,
)
from tests.support import examples


@pytest.fixture(scope="module")
def all_keys(tmp_path_factory: pytest.TempPathFactory) -> JwtAuthenticator:
    return door(tmp_path_factory.mktemp("keys"))


async def refusal(authenticator: JwtAuthenticator, text: str) -> str:
    with pytest.raises(Unauthorized) as raised:
        await authenticator(text, "room")
    return str(raised.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_is_taken(algorithm: str, all_keys: JwtAuthenticator) -> None:
    identity = await all_keys(token(algorithm), "room")
    assert (identity.user, identity.role) == ("alice", "member")
    observer = await all_keys(token(algorithm, role="observer"), "club-7")
    assert (observer.role, observer.may_submit) == ("observer", False)


EDDSA = {"alg": "EdDSA"}
BY_EDDSA = signer("EdDSA")
EMBEDDED = forge({"alg": "EdDSA", "jwk": jwk("EdDSA", 7)}, CLAIMS, signer("EdDSA", 7))
DER_OF_ES256 = private_key("ES256")
HEAD, BODY, SIGNATURE = token().split(".")

FORGED: dict[str, str] = {
    "nothing": "",
    "no token": "hello",
    "two parts": f"{HEAD}.{BODY}",
    "an empty signature": f"{HEAD}.{BODY}.",
    "four parts": f"{HEAD}.{BODY}.{SIGNATURE}.",
    "five parts, as of JWE": f"{HEAD}..{BODY}.{SIGNATURE}.{SIGNATURE}",
    "a blank before it": f" {token()}",
    "a line break after it": f"{token()}\n",
    "padding": f"{token()}==",
    "another alphabet": f"{HEAD}.{BODY}.{SIGNATURE[:-2]}+/",
    "beyond ASCII": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}\u0661",
    "as JSON": json.dumps({"protected": HEAD, "payload": BODY, "signature": SIGNATURE}),
    "alg none, unsigned": f"{encoded(as_json({'alg': 'none'}))}.{BODY}.",
    **{
        f"alg {name}, with a signature": forge({"alg": name}, CLAIMS, BY_EDDSA)
        for name in ("none", "None", "NONE", "nOnE", "", "HS512", "eddsa", "EdDSA ", "Ed448")
    },
    "alg none, with an empty secret": forge({"alg": "none"}, CLAIMS, by_secret(b"")),
    **{
        f"alg is {name!r}": forge({"alg": name}, CLAIMS, BY_EDDSA)
        for name in (None, 1, True, ["EdDSA"], {"a": 1})
    },
    "no alg": forge({}, CLAIMS, BY_EDDSA),
    "alg twice": forge(b'{"alg": "none", "alg": "EdDSA"}', CLAIMS, BY_EDDSA),
    # HMAC with a key that everybody knows.
    **{
        f"HS256 by the public key, {kind}, {n}": forge({"alg": "HS256"}, CLAIMS, by_secret(secret))
        for kind in ("EdDSA", "ES256", "RS256")
        for n, secret in enumerate(
            (
                public_pem(kind),
                public_pem(kind).strip(),
                public_der(kind),
                "".join(public_pem(kind).decode().splitlines()[1:-1]).encode(),
                as_json(jwk(kind)),
            )
        )
    },
    "HS256 by nothing": forge({"alg": "HS256"}, CLAIMS, by_secret(b"")),
    "HS256 by zero": forge({"alg": "HS256"}, CLAIMS, by_secret(b"\0" * 32)),
    "HS256 by its own kid": forge({"alg": "HS256", "kid": "k"}, CLAIMS, by_secret(b"k")),
    "HS256 with another secret": forge({"alg": "HS256"}, CLAIMS, by_secret(SECRET + b"!")),
    "HS256 cut to 16 bytes": forge({"alg": "HS256"}, CLAIMS, lambda data: by_secret()(data)[:16]),
    # A signature by another algorithm than the token names.
    "ES256 signed by EdDSA": forge({"alg": "ES256"}, CLAIMS, BY_EDDSA),
    "RS256 signed by EdDSA": forge({"alg": "RS256"}, CLAIMS, BY_EDDSA),
    "EdDSA signed by ES256": forge(EDDSA, CLAIMS, signer("ES256")),
    "ES256 that is all zero": forge({"alg": "ES256"}, CLAIMS, lambda _: bytes(64)),
    "ES256 that is the group's order": forge(
        {"alg": "ES256"},
        CLAIMS,
        lambda _: bytes.fromhex(
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551" * 2
        ),
    ),
    "ES256 with a zero before each half": forge(
        {"alg": "ES256"},
        CLAIMS,
        lambda data: b"\0" + signer("ES256")(data)[:32] + b"\0" + signer("ES256")(data)[32:],
    ),
    "RS256 that is zero": forge({"alg": "RS256"}, CLAIMS, lambda _: bytes(256)),
    "EdDSA that is zero": forge(EDDSA, CLAIMS, lambda _: bytes(64)),
    "another key of the same kind": forge(EDDSA, CLAIMS, signer("EdDSA", 1)),
    # A key that comes with the token.
    "its own key": EMBEDDED,
    **{
        f"{name} in the header": forge({"alg": "EdDSA", name: value}, CLAIMS, BY_EDDSA)
        for name, value in {
            "jwk": jwk("EdDSA"),
            "jku": "https://evil.example/keys",
            "x5u": "https://evil.example/cert",
            "x5c": ["MIIB"],
            "crit": ["exp"],
            "b64": False,
            "zip": "DEF",
        }.items()
    },
    **{
        f"kid {kid!r}": forge({"alg": "EdDSA", "kid": kid}, CLAIMS, signer("EdDSA", 1))
        for kid in ("../../../../dev/null", "x' UNION SELECT 'k", "| id", "", "EdDSA-0", "\0")
    },
    **{
        f"kid is {kid!r:.20}": forge({"alg": "EdDSA", "kid": kid}, CLAIMS, BY_EDDSA)
        for kid in (None, 1, True, ["k"], {"k": 1}, "k" * 257)
    },
    **{
        f"typ {kind!r}": forge({"alg": "EdDSA", "typ": kind}, CLAIMS, BY_EDDSA)
        for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE+JSON", "", 1, None)
    },
    # Tokens that would cost much to check.
    "too long": forge(EDDSA, CLAIMS | {"pad": "x" * MAX_TOKEN}, BY_EDDSA),
    "far too long": "A" * 10**6,
    "a header too long": forge({"alg": "EdDSA", "pad": "x" * 1000}, CLAIMS, BY_EDDSA),
    "a signature too long": f"{HEAD}.{BODY}.{'A' * 1028}",
    "nested headers": forge(b'{"alg":' + b"[" * 400 + b"]" * 300 + b"}", CLAIMS, BY_EDDSA),
    "a header that is a list": forge(["EdDSA"], CLAIMS, BY_EDDSA),
    "a header that is no UTF-8": forge(b'{"alg": "EdDSA\xff"}', CLAIMS, BY_EDDSA),
    "a header with a mark": forge(b'\xef\xbb\xbf{"alg": "EdDSA"}', CLAIMS, BY_EDDSA),
    # Signed payloads that are no token.
    "claims twice": forge(EDDSA, b'{"sub": "bob", ' + as_json(CLAIMS)[1:], BY_EDDSA),
    "a name twice, deep in it": forge(
        EDDSA, as_json(CLAIMS)[:-1] + b', "x": {"a": 1, "a": 2}}', BY_EDDSA
    ),
    **{
        f"claims are {what!r:.12}": forge(EDDSA, what, BY_EDDSA)
        for what in (b"[]", b'"alice"', b"null", b"1", b"{", b"\xff", b"[" * 2000)
    },
    "NaN": forge(EDDSA, as_json(CLAIMS)[:-1] + b', "x": NaN}', BY_EDDSA),
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_refused_and_nobody_learns_why(
    text: str, all_keys: JwtAuthenticator
) -> None:
    assert await refusal(all_keys, text) == NOT_VALID


def test_what_is_forged_would_be_good_otherwise(all_keys: JwtAuthenticator) -> None:
    """The forged tokens have the claims of a good one, so that only the forgery is refused."""
    made = forge({"alg": "EdDSA", "typ": "JWT", "x5t": "any"}, CLAIMS, BY_EDDSA)
    assert trio.run(all_keys, made, "room") == trio.run(all_keys, token(), "room")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256", "HS256"])
def test_any_flipped_bit_is_refused(algorithm: str, all_keys: JwtAuthenticator) -> None:
    good = token(algorithm).encode()

    @settings(max_examples=examples(150), deadline=None)
    @given(st.integers(0, len(good) * 8 - 1))
    def flip(bit: int) -> None:
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        text = changed.decode("latin-1")
        assert trio.run(refusal, all_keys, text) == NOT_VALID

    flip()


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_any_other_change_is_refused(all_keys: JwtAuthenticator, data: st.DataObject) -> None:
    good = token(data.draw(st.sampled_from(["EdDSA", "HS256"])))
    at, to = sorted(data.draw(st.integers(0, len(good))) for _ in range(2))
    changed = good[:at] + data.draw(st.text("AZaz09-_.=", max_size=4)) + good[to:]
    if changed != good:
        assert trio.run(refusal, all_keys, changed) == NOT_VALID


@settings(max_examples=examples(100), deadline=None)
@given(st.text(max_size=200), st.binary(max_size=100), st.binary(max_size=100))
def test_nonsense_is_refused(
    all_keys: JwtAuthenticator, text: str, header: bytes, payload: bytes
) -> None:
    assert trio.run(refusal, all_keys, text) == NOT_VALID
    assert trio.run(refusal, all_keys, forge(header, payload, BY_EDDSA)) == NOT_VALID


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256", "HS256"])
async def test_a_key_is_for_one_algorithm(algorithm: str, tmp_path: Path) -> None:
    """With only one kind of key, tokens of the other kinds are refused."""
    one = door(tmp_path, algorithm)
    for other in ("EdDSA", "ES256", "RS256", "HS256"):
        if other == algorithm:
            assert (await one(token(other), "room")).user == "alice"
        else:
            assert await refusal(one, token(other)) == NOT_VALID


async def test_no_token_is_said_to_be_needed(all_keys: JwtAuthenticator) -> None:
    with pytest.raises(Unauthorized, match="a token is needed"):
        await all_keys(None, "room")


@pytest.mark.parametrize("what", [b"bytes", 7, ("a", "b", "c")], ids=repr)
async def test_what_is_no_text_is_no_token(what: Any, all_keys: JwtAuthenticator) -> None:
    """An embedding program is trusted no more than a client."""
    assert await refusal(all_keys, what) == NOT_VALID


def test_an_authenticator_returns_an_identity(all_keys: JwtAuthenticator) -> None:
    found: Any = trio.run(all_keys, token(), "room")
    assert isinstance(found, Identity)
