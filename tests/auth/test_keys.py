"""Keys: what a file may contain, several keys at once, and how they change."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from squire_gatherings import BadSetting, JwtAuthenticator, Unauthorized
from squire_gatherings._auth.keys import MAX_KEYS, read_keys
from tests.auth.forge import (
    ALGORITHMS,
    NOW,
    SECRET,
    door,
    encoded,
    jwk,
    key_file,
    private_key,
    private_pem,
    public_der,
    public_pem,
    token,
)

KINDS = ("EdDSA", "ES256", "RS256", "HS256")


def made_of(folder: Path, content: bytes | dict[str, Any], **options: Any) -> JwtAuthenticator:
    file = folder / "key"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    file.chmod(0o600)
    return JwtAuthenticator([file], clock=lambda: NOW, **options)


async def is_taken(authenticator: JwtAuthenticator, text: str) -> bool:
    try:
        return (await authenticator(text, "room")).user == "alice"
    except Unauthorized:
        return False


@pytest.mark.parametrize("algorithm", KINDS)
async def test_each_kind_of_file(algorithm: str, tmp_path: Path) -> None:
    contents: list[bytes | dict[str, Any]] = [
        jwk(algorithm),
        jwk(algorithm, alg=algorithm, use="sig", kid="k"),
        {"keys": [jwk(algorithm, key_ops=["verify"])]},
        {"keys": [{"kty": "new"}, jwk(algorithm)]},
    ]
    if algorithm == "HS256":
        contents += [SECRET, b"\n" + SECRET + b"\r\n"]
    else:
        contents += [public_pem(algorithm), private_pem(algorithm)]
    for content in contents:
        assert await is_taken(made_of(tmp_path, content), token(algorithm))
        other = KINDS[KINDS.index(algorithm) - 1]
        assert not await is_taken(made_of(tmp_path, content), token(other))


async def test_a_jwk_may_name_its_algorithm_and_use(tmp_path: Path) -> None:
    new = made_of(tmp_path, jwk("EdDSA", alg="Ed25519"))
    assert await is_taken(new, token("Ed25519"))
    both = made_of(tmp_path, {"keys": [jwk("EdDSA", alg="EdDSA"), jwk("ES256", use="enc")]})
    assert await is_taken(both, token("EdDSA"))
    assert not await is_taken(both, token("ES256"))


def rsa_pem(bits: int) -> bytes:
    public = rsa.generate_private_key(65537, bits).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def pem_of(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


LOCKED = private_key("EdDSA").private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
)
SSH = private_key("EdDSA").public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
BODY_OF_PEM = "".join(public_pem("ES256").decode().splitlines()[1:-1]).encode()

BROKEN: dict[str, tuple[Callable[[], bytes | dict[str, Any]], str]] = {
    "empty": (lambda: b" \n", "is empty"),
    "short secret": (lambda: b"hunter2", "a secret has 32 to 1024 characters"),
    "long secret": (lambda: b"x" * 1025, "a secret has 32 to 1024 characters"),
    "large file": (lambda: b"x" * 300_000, "is larger than"),
    "words": (lambda: b"it was a dark and stormy night, hunter2", "neither a PEM key nor JSON"),
    "bytes": (lambda: bytes(range(64)), "neither a PEM key nor JSON"),
    "a public key for ssh": (lambda: SSH + b" me@here", "neither a PEM key nor JSON"),
    "DER": (lambda: public_der("RS256"), "neither a PEM key nor JSON"),
    "a public key without its lines": (lambda: BODY_OF_PEM, "is a public key, not a secret"),
    "a certificate": (lambda: trustme.CA().cert_pem.bytes(), "a certificate isn't one"),
    "broken PEM": (lambda: public_pem("EdDSA")[:60], "is no PEM key that can be read"),
    "a password": (lambda: LOCKED, "has a password"),
    "a weak RSA key": (lambda: rsa_pem(1024), "an RSA key has 2048 to 4096 bits, not 1024"),
    "another curve": (
        lambda: pem_of(ec.generate_private_key(ec.SECP384R1())),
        "a public key is Ed25519, P-256 or RSA",
    ),
    "Ed448": (lambda: pem_of(ed448.Ed448PrivateKey.generate()), "is Ed25519, P-256 or RSA"),
    "DSA": (lambda: pem_of(dsa.generate_private_key(1024)), "is Ed25519, P-256 or RSA"),
    "no JSON": (lambda: b"{hunter2", "is no JSON"),
    "JSON twice": (lambda: b'{"kty": "oct", "kty": "OKP"}', "is no JSON"),
    "another object": (lambda: {"key": "hunter2"}, "is neither a JWK nor a JWKS"),
    "a list of texts": (lambda: {"keys": ["hunter2"]}, "is neither a JWK nor a JWKS"),
    "no keys": (lambda: {"keys": []}, "has no key for EdDSA"),
    "only others": (
        lambda: {
            "keys": [
                jwk("RS256", use="enc"),
                jwk("RS256", alg="PS256"),
                jwk("ES256", key_ops=["encrypt"]),
                jwk("HS256", alg="HS512"),
                {"kty": "EC", "crv": "P-384"},
            ]
        },
        "has no key for EdDSA",
    ),
    "a kid that is none": (lambda: jwk("EdDSA", kid=1), "a kid is text"),
    "a short key in JSON": (lambda: {"kty": "oct", "k": "aHVudGVyMg"}, "32 to 1024 bytes"),
    "an empty one": (lambda: {"kty": "oct"}, "no k that can be read"),
    "half a JWK": (lambda: {"kty": "OKP", "crv": "Ed25519"}, "a JWK of kty OKP can't be read"),
    "not on the curve": (
        lambda: jwk("ES256") | {"y": encoded(b"\1" * 32)},
        "a JWK of kty EC can't be read",
    ),
    "numbers": (lambda: jwk("RS256") | {"n": 7}, "numbers are text"),
    "weak RSA in JSON": (lambda: jwk("RS256") | {"n": "AQAB"}, "2048 to 4096 bits"),
}


@pytest.mark.parametrize(("content", "complaint"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_key_is_said(
    content: Callable[[], bytes | dict[str, Any]], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting) as raised:
        made_of(tmp_path, content())
    text = str(raised.value)
    assert text.startswith(f"{tmp_path / 'key'}: ")
    assert complaint in text
    assert "hunter2" not in text
    assert text.isprintable()


def test_what_is_no_file_is_said_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, complaint in (
        ("pipe", "is not a file"),
        ("missing", "No such file"),
        (".", "is not a file"),
    ):
        with pytest.raises(BadSetting, match=complaint):
            JwtAuthenticator([tmp_path / name])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"leeway": -1}, "leeway"),
        ({"leeway": float("nan")}, "leeway"),
        ({"leeway": float("inf")}, "leeway"),
        ({"leeway": True}, "leeway"),
        ({"cookie": ""}, "name of a cookie"),
        ({"cookie": "a b"}, "name of a cookie"),
        ({"cookie": "a=b"}, "name of a cookie"),
        ({"allow_origins": ["example.com"]}, "an origin is"),
        ({"allow_origins": "https://example.com"}, "several origins"),
    ],
)
def test_settings_that_make_no_sense(
    options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match=complaint):
        door(tmp_path, "EdDSA", **options)


def test_there_must_be_keys_and_not_too_many(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="needs a key"):
        JwtAuthenticator([])
    with pytest.raises(BadSetting, match="several files"):
        JwtAuthenticator(str(key_file(tmp_path)))
    many = {"keys": [jwk("EdDSA", kid=str(number)) for number in range(MAX_KEYS + 1)]}
    with pytest.raises(BadSetting, match=f"{MAX_KEYS} are the most"):
        made_of(tmp_path, many)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604])
@pytest.mark.parametrize("kind", ["secret", "private", "jwk", "public"])
def test_a_secret_that_others_may_read_is_told(
    kind: str, mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = {
        "secret": SECRET,
        "private": private_pem("EdDSA"),
        "jwk": json.dumps(jwk("HS256")).encode(),
        "public": public_pem("EdDSA"),
    }
    (tmp_path / "key").write_bytes(contents[kind])
    (tmp_path / "key").chmod(mode)
    JwtAuthenticator([tmp_path / "key"])
    told = [record.__dict__["why"] for record in caplog.records]
    expected = [] if mode == 0o600 or kind == "public" else [f"{tmp_path}/key: others than"]
    assert [text[: len(expected[0])] for text in told] == expected


def test_a_file_that_anybody_may_write_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key_file(tmp_path).chmod(0o646)
    JwtAuthenticator([tmp_path / "EdDSA-0"])
    [told] = caplog.records
    assert "anybody may write a key of his own" in told.__dict__["why"]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for name in ("pipe", "."):
        with pytest.raises(BadSetting):
            JwtAuthenticator([tmp_path / name])
    JwtAuthenticator([key_file(tmp_path)])
    assert before == (os.listdir("/proc/self/fd") if before else [])


# Several keys, and how they change.


async def test_a_file_may_have_several_pem_keys(tmp_path: Path) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    text = b"old:\n" + public_pem("EdDSA") + parameters + public_pem("ES256") + private_pem("RS256")
    several = made_of(tmp_path, text)
    assert several.keys == 3
    for algorithm in ("EdDSA", "ES256", "RS256"):
        assert await is_taken(several, token(algorithm))
    with pytest.raises(BadSetting, match="is no PEM key that can be read"):
        made_of(tmp_path, text + public_pem("EdDSA")[:40] + b"\n-----END PUBLIC KEY-----")
    with pytest.raises(BadSetting, match="is no PEM key that can be read"):
        made_of(tmp_path, parameters)
    with pytest.raises(BadSetting, match="is no PEM key that can be read"):
        made_of(tmp_path, text + public_pem("EdDSA")[:40])


@pytest.mark.parametrize("algorithm", KINDS)
async def test_any_of_several_keys_is_good(algorithm: str, tmp_path: Path) -> None:
    files = [key_file(tmp_path, one, n) for one in ("EdDSA", "ES256", "HS256") for n in range(3)]
    files += [key_file(tmp_path, "RS256"), key_file(tmp_path, "RS256", 1)]
    several = JwtAuthenticator(files, clock=lambda: NOW)
    assert several.keys == len(files)
    for number in range(2):
        for kid in (None, "unknown"):
            assert await is_taken(several, token(algorithm, number, kid))
    assert not await is_taken(several, token(algorithm, 5))


async def test_a_kid_chooses_the_key(tmp_path: Path) -> None:
    keys = {"keys": [jwk("EdDSA", 0, kid="old"), jwk("EdDSA", 1, kid="new")]}
    named = made_of(tmp_path, keys)
    assert await is_taken(named, token(kid="old"))
    assert await is_taken(named, token("EdDSA", 1, kid="new"))
    assert await is_taken(named, token("EdDSA", 1))
    # The token names another key, or one that doesn't exist.
    assert not await is_taken(named, token(kid="new"))
    assert not await is_taken(named, token(kid="other"))


async def test_a_public_key_is_called_by_its_hash_too(tmp_path: Path) -> None:
    ring = read_keys([key_file(tmp_path, "ES256"), key_file(tmp_path, "ES256", 1)]).ring
    mark = ring.keys[1].mark
    assert ring.candidates("ES256", mark) == [ring.keys[1]]
    assert ring.candidates("ES256", None) == list(ring.keys)
    assert ring.candidates("EdDSA", mark) == []
    secret = read_keys([key_file(tmp_path, "HS256")]).ring.keys[0]
    assert secret.mark is None
    assert SECRET.decode() not in repr(secret)


async def test_keys_are_rotated(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    rotated = JwtAuthenticator([file], clock=lambda: NOW)
    file.write_text(json.dumps({"keys": [jwk("EdDSA", 0), jwk("EdDSA", 1)]}))
    assert not await is_taken(rotated, token("EdDSA", 1))
    rotated.reload()
    assert await is_taken(rotated, token("EdDSA", 0))
    assert await is_taken(rotated, token("EdDSA", 1))
    file.write_bytes(public_pem("EdDSA", 1))
    rotated.reload()
    assert not await is_taken(rotated, token("EdDSA", 0))


@pytest.mark.parametrize("content", [b"", b"{", b"-----BEGIN PUBLIC KEY-----", None])
async def test_a_broken_file_changes_nothing(content: bytes | None, tmp_path: Path) -> None:
    files = [key_file(tmp_path), key_file(tmp_path, "HS256")]
    kept = JwtAuthenticator(files, clock=lambda: NOW)
    files[0].write_bytes(public_pem("EdDSA", 1))
    if content is None:
        files[1].unlink()
    else:
        files[1].write_bytes(content)
    with pytest.raises(BadSetting, match="HS256-0"):
        kept.reload()
    # The other file's keys aren't taken, either: a reload takes all of them, or none.
    for algorithm in ("EdDSA", "HS256"):
        assert await is_taken(kept, token(algorithm))
    assert not await is_taken(kept, token("EdDSA", 1))


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = "import sys, squire_gatherings, squire_gatherings._cli.cli; print(*sys.modules)"
    assert {"joserfc", "cryptography"}.isdisjoint(python(code).split())


@pytest.mark.parametrize("missing", ["joserfc", "cryptography"])
def test_what_is_missing_is_said_in_one_line(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import squire_gatherings\n"
        "try: squire_gatherings.JwtAuthenticator(['any'])\n"
        "except squire_gatherings.BadSetting as error: print(error)"
    )
    assert python(code) == "JWT needs joserfc: pip install 'squire-gatherings[jwt]'\n"


def test_no_warning_is_given_for_a_key_or_a_token(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert door(tmp_path).keys == len(set(ALGORITHMS)) - 1
    assert not recwarn.list
    assert not caplog.records
