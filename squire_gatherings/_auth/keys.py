"""Keys: what signatures are checked with. They are read from files; each is for one algorithm only.

The contents of a file show what it is: PEM keys, a JWK or a JWKS (JSON), or a secret.
"""

import base64
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from squire_gatherings._auth.tokens import BadToken, parse_object
from squire_gatherings._values.errors import BadSetting

MAX_FILE = 256 * 1024
MAX_KEYS = 32
"""How many there may be: a token that doesn't say which is its own may be tried with all."""

LEAST_SECRET, LONGEST_SECRET = 32, 1024
"""The least that a secret for HS256 has, in bytes: as much as its hash (RFC 7518, section 3.2)."""

LEAST_RSA, LARGEST_RSA = 2048, 4096
"""In bits. A check takes longer with each of them, and is made while others wait."""

EDDSA: tuple[str, ...] = ("EdDSA", "Ed25519")
"""Two names of the same (RFC 8037, and RFC 9864, which deprecates the first)."""

NO_PEM = "is no PEM key that can be read (a certificate isn't one)"

_PEM = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.DOTALL)


@frozen
class VerifyingKey:
    """A key, and what it is for: no token can ask it for anything else."""

    key: Key = field(repr=False)
    algorithms: tuple[str, ...]
    kid: str | None
    """Its name in a JWKS; None where it has none there, or comes from another kind of file."""
    mark: str | None
    """The hash of a public key (RFC 7638), by which tokens may name it, too."""


@frozen(eq=False)
class KeyRing:
    """All keys that are good now."""

    keys: Sequence[VerifyingKey]

    def candidates(self, algorithm: str, kid: str | None) -> Sequence[VerifyingKey]:
        """Return the keys that may have made a signature.

        Those that have the token's `kid`; otherwise those without a name of their own, and for a
        token without a `kid` all that are for its algorithm.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if kid is None:
            return fitting
        named = [key for key in fitting if kid in (key.kid, key.mark)]
        return named or [key for key in fitting if key.kid is None]


@frozen
class ReadKeys:
    """What was read, and what should be said of it."""

    ring: KeyRing
    warnings: tuple[str, ...]


def read_keys(files: Iterable[str | os.PathLike[str]]) -> ReadKeys:
    """Read all keys, and wait for the files. Raises `BadSetting`, which names the file.

    No error repeats what is in a file.
    """
    keys: list[VerifyingKey] = []
    said: list[str] = []
    for file in files:
        name = os.fspath(file)
        try:
            data, mode = read_file(name)
            found = list(keys_in(data))
        except OSError as error:
            raise BadSetting(f"{name}: {error.strerror or 'cannot be read'}") from None
        except ValueError as error:
            raise BadSetting(f"{name}: {error}") from None
        keys += found
        if _has_secret(data, found) and mode & (stat.S_IRGRP | stat.S_IROTH):
            said.append(f"{name}: others than its owner may read this secret (chmod 600)")
        if mode & stat.S_IWOTH:
            said.append(f"{name}: anybody may write a key of his own into it (chmod o-w)")
    if not keys:
        raise BadSetting("a check of tokens needs a key")
    if len(keys) > MAX_KEYS:
        raise BadSetting(f"there are {len(keys)} keys, and {MAX_KEYS} are the most")
    return ReadKeys(KeyRing(keys), tuple(said))


def read_file(name: str) -> tuple[bytes, int]:
    """Return what is in a file, and its mode. Raises `OSError`, `ValueError`."""
    # A pipe that nobody writes to would be waited for.
    number = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a file")
        with open(number, "rb", closefd=False) as file:
            data = file.read(MAX_FILE + 1)
    finally:
        os.close(number)
    if len(data) > MAX_FILE:
        raise ValueError(f"is larger than {MAX_FILE} bytes")
    return data, status.st_mode


def _has_secret(data: bytes, found: Sequence[VerifyingKey]) -> bool:
    return b"PRIVATE KEY-----" in data or any(key.algorithms == ("HS256",) for key in found)


def keys_in(data: bytes) -> Iterator[VerifyingKey]:
    """Give the keys that a file has. Raises `ValueError`, which says what it is instead."""
    text = data.strip()
    if not text:
        raise ValueError("is empty")
    if text.startswith(b"{"):
        yield from _jwks(text)
    elif b"-----BEGIN" in text:
        found = _PEM.findall(text)
        blocks = [block for block in found if b"PARAMETERS-----" not in block]
        # The rest of a file that is being written counts, too.
        if not blocks or len(found) != text.count(b"-----BEGIN"):
            raise ValueError(NO_PEM)
        yield from map(_pem, blocks)
    else:
        yield _secret(text)


def _pem(text: bytes) -> VerifyingKey:
    public: object
    try:
        if b"PRIVATE KEY-----" in text:
            # Its public half is all that is kept.
            public = load_pem_private_key(text, None).public_key()
        else:
            public = load_pem_public_key(text)
    except TypeError:
        raise ValueError("the private key has a password; give the public one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(NO_PEM) from None
    key, algorithms = _public(public)
    return VerifyingKey(key, algorithms, None, key.thumbprint())


def _public(public: object) -> tuple[Key, tuple[str, ...]]:
    """Return a public key, and the names of the one algorithm that it is for."""
    kind: type[OKPKey] | type[ECKey] | type[RSAKey]
    algorithms: tuple[str, ...]
    if isinstance(public, Ed25519PublicKey):
        kind, algorithms = OKPKey, EDDSA
    elif isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        kind, algorithms = ECKey, ("ES256",)
    elif isinstance(public, RSAPublicKey):
        if not LEAST_RSA <= public.key_size <= LARGEST_RSA:
            raise ValueError(
                f"an RSA key has {LEAST_RSA} to {LARGEST_RSA} bits, not {public.key_size}"
            )
        kind, algorithms = RSAKey, ("RS256",)
    else:
        raise ValueError("a public key is Ed25519, P-256 or RSA")
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return kind.import_key(pem), algorithms


def _secret(text: bytes) -> VerifyingKey:
    """Return the key of a file that has a secret: a line of printable characters.

    Nothing that is public may be taken for one: with it anybody could sign.
    """
    if not LEAST_SECRET <= len(text) <= LONGEST_SECRET:
        raise ValueError(f"a secret has {LEAST_SECRET} to {LONGEST_SECRET} characters")
    if not text.isascii() or not text.decode().isprintable() or b" " in text:
        raise ValueError("is neither a PEM key nor JSON, nor a secret: one printable word")
    try:
        load_der_public_key(base64.b64decode(text))
    except (ValueError, UnsupportedAlgorithm):
        pass
    else:
        raise ValueError("is a public key, not a secret (put BEGIN PUBLIC KEY around it)")
    return VerifyingKey(_octets(text), ("HS256",), None, None)


def _octets(secret: bytes) -> OctKey:
    try:
        return OctKey.import_key(secret)
    except (JoseError, SecurityWarning, ValueError):
        raise ValueError("is no secret") from None


def _jwks(text: bytes) -> Iterator[VerifyingKey]:
    try:
        said = parse_object(text)
    except BadToken:
        raise ValueError("is no JSON") from None
    several = said.get("keys")
    keys = [said] if "kty" in said else several
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("is neither a JWK nor a JWKS")
    found = [key for key in map(_jwk, keys) if key is not None]
    if not found:
        raise ValueError("has no key for EdDSA, ES256, RS256 or HS256")
    yield from found


def _jwk(said: dict[str, Any]) -> VerifyingKey | None:
    """Return the key that a JWK is; None for one that is for something else."""
    kid, kind = said.get("kid"), said.get("kty")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("a kid is text")
    if said.get("use", "sig") != "sig" or not _may_verify(said.get("key_ops", ["verify"])):
        return None
    if (kind, said.get("crv")) not in (
        ("OKP", "Ed25519"),
        ("EC", "P-256"),
        ("RSA", None),
        ("oct", None),
    ):
        return None
    key, algorithms = (_secret_jwk(said), ("HS256",)) if kind == "oct" else _public(_native(said))
    if "alg" in said:
        if said["alg"] not in algorithms:
            return None
        if algorithms != EDDSA:
            algorithms = (said["alg"],)
    return VerifyingKey(key, algorithms, kid, None if kind == "oct" else key.thumbprint())


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and ("verify" in operations or "sign" in operations)


def _secret_jwk(said: dict[str, Any]) -> Key:
    try:
        text = said["k"]
        secret = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (KeyError, TypeError, ValueError):
        raise ValueError("a JWK of kty oct has no k that can be read") from None
    if not LEAST_SECRET <= len(secret) <= LONGEST_SECRET:
        raise ValueError(f"a secret has {LEAST_SECRET} to {LONGEST_SECRET} bytes")
    return _octets(secret)


_PUBLIC = {"OKP": ("crv", "x"), "EC": ("crv", "x", "y"), "RSA": ("n", "e")}
_KINDS: dict[str, type[OKPKey] | type[ECKey] | type[RSAKey]] = {
    "OKP": OKPKey,
    "EC": ECKey,
    "RSA": RSAKey,
}


def _native(said: dict[str, Any]) -> object:
    kind = said["kty"]
    # What is private in it is left out, and so is what says how it may be used.
    public = {name: said[name] for name in ("kty", *_PUBLIC[kind]) if name in said}
    if not all(isinstance(value, str) for value in public.values()):
        raise ValueError("a JWK's numbers are text")
    if kind == "RSA" and len(public.get("n", "")) * 6 < LEAST_RSA:
        raise ValueError(f"an RSA key has {LEAST_RSA} to {LARGEST_RSA} bits")
    try:
        return _KINDS[kind].import_key(public).public_key
    except (JoseError, SecurityWarning, ValueError, KeyError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"a JWK of kty {kind} can't be read") from None
