"""Makes tokens by hand, also such as no library would make."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from squire_gatherings import JwtAuthenticator

NOW = 4_000_000_000.0
"""Long after any clock: rights from a good token haven't ended by the real clock."""
CLAIMS: dict[str, Any] = {"sub": "alice", "exp": NOW + 3600, "gatherings": ["room", "club-*"]}
SECRET = b"0123456789abcdefghijklmnopqrstuvwxyz"

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Sign = Callable[[bytes], bytes]

ALGORITHMS = ("EdDSA", "Ed25519", "ES256", "RS256", "HS256")


def private_key(algorithm: str, number: int = 0) -> Private:
    """One of several keys of this kind, the same in all tests."""
    return _made(algorithm, number)


@lru_cache
def _made(algorithm: str, number: int) -> Private:
    if algorithm in ("EdDSA", "Ed25519"):
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)
    if algorithm == "ES256":
        return ec.derive_private_key(number + 12345, ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def public_pem(algorithm: str, number: int = 0) -> bytes:
    key = private_key("EdDSA" if algorithm == "Ed25519" else algorithm, number)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_der(algorithm: str) -> bytes:
    key = private_key(algorithm)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private_pem(algorithm: str) -> bytes:
    return private_key(algorithm).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def by_secret(secret: bytes = SECRET) -> Sign:
    return lambda data: hmac.digest(secret, data, hashlib.sha256)


def signer(algorithm: str, number: int = 0) -> Sign:
    if algorithm == "HS256":
        return by_secret(SECRET if not number else SECRET + b"%d" % number)
    key = private_key("EdDSA" if algorithm == "Ed25519" else algorithm, number)

    def sign(data: bytes) -> bytes:
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(data)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def forge(header: Any, payload: Any, sign: Sign) -> str:
    """Return a token with this header and payload: JSON values, or the very bytes."""
    said = f"{encoded(as_json(header))}.{encoded(as_json(payload))}"
    return f"{said}.{encoded(sign(said.encode()))}"


def token(algorithm: str = "EdDSA", number: int = 0, kid: str | None = None, **claims: Any) -> str:
    """Return a good token with these claims changed; None leaves a claim out."""
    header = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    said = {name: one for name, one in (CLAIMS | claims).items() if one is not None}
    return forge(header, said, signer(algorithm, number))


def key_file(folder: Path, algorithm: str = "EdDSA", number: int = 0) -> Path:
    file = folder / f"{algorithm}-{number}"
    if algorithm == "HS256":
        file.write_bytes((SECRET if not number else SECRET + b"%d" % number) + b"\n")
        file.chmod(0o600)
    else:
        file.write_bytes(public_pem(algorithm, number))
    return file


def door(folder: Path, *algorithms: str, **options: Any) -> JwtAuthenticator:
    """Return an authenticator with the first key of each of these kinds, or of all kinds."""
    kinds = dict.fromkeys("EdDSA" if one == "Ed25519" else one for one in algorithms or ALGORITHMS)
    options.setdefault("clock", lambda: NOW)
    return JwtAuthenticator([key_file(folder, one) for one in kinds], **options)


def jwk(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """Return a public key as a JWK, or the secret."""
    if algorithm == "HS256":
        return {"kty": "oct", "k": encoded(SECRET)} | more
    public = private_key(algorithm, number).public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())} | more
    if isinstance(public, ec.EllipticCurvePublicKey):
        numbers = public.public_numbers()
        x, y = (encoded(one.to_bytes(32, "big")) for one in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y} | more
    n, e = public.public_numbers().n, public.public_numbers().e
    return {"kty": "RSA", "n": encoded(n.to_bytes(256, "big")), "e": encoded(e.to_bytes(3))} | more
