"""Minting: makes tokens and keys, for people who try the server and have no issuer yet."""

import json
import os
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from squire_gatherings._auth.claims import claims_of
from squire_gatherings._auth.keys import LARGEST_RSA, LEAST_RSA, keys_in, read_file
from squire_gatherings._auth.signatures import pinned
from squire_gatherings._auth.tokens import MAX_TOKEN
from squire_gatherings._values.errors import BadSetting, Unauthorized
from squire_gatherings._values.identity import Identity

PUBLIC = ".pub"
"""What is appended to the name of a key's file for that of its public half."""


def make_key(file: str) -> None:
    """Write a new Ed25519 key to `file` (0600), and its public half beside it.

    Raises `BadSetting`, also where a file is there already.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, data, mode in ((file, private, 0o600), (file + PUBLIC, public, 0o644)):
        try:
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as new:
                new.write(data)
        except OSError as error:
            raise BadSetting(f"{name}: {error.strerror}") from None


def mint(file: str, claims: Mapping[str, Any]) -> str:
    """Return a token with these claims, signed with the key in `file`.

    The key is a private PEM key, or a secret. Raises `BadSetting`, also for claims with which the
    token would be refused.
    """
    try:
        said = claims_of(claims, 0)
        Identity(said.user, said.role)
    except (Unauthorized, ValueError) as error:
        raise BadSetting(str(error)) from None
    try:
        key, algorithm = _signing_key(read_file(file)[0].strip())
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise BadSetting(f"{file}: {error}") from None
    header = {"alg": algorithm, "typ": "JWT"}
    if algorithm != "HS256":
        header["kid"] = key.thumbprint()
    payload = json.dumps(dict(claims), separators=(",", ":"))
    token = jws.serialize_compact(header, payload, key, registry=pinned((algorithm,)))
    if len(token) > MAX_TOKEN:
        raise BadSetting(f"the token would have over {MAX_TOKEN} characters: give it less")
    return token


def _signing_key(text: bytes) -> tuple[Key, str]:
    if b"-----BEGIN" not in text and not text.startswith(b"{"):
        [secret] = keys_in(text)
        return secret.key, "HS256"
    try:
        private = load_pem_private_key(text, None)
    except (ValueError, TypeError):
        raise ValueError("is no private PEM key without a password, and no secret") from None
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(private, Ed25519PrivateKey):
        return OKPKey.import_key(pem), "EdDSA"
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return ECKey.import_key(pem), "ES256"
    if isinstance(private, RSAPrivateKey) and LEAST_RSA <= private.key_size <= LARGEST_RSA:
        return RSAKey.import_key(pem), "RS256"
    raise ValueError(f"a key is Ed25519, P-256, or RSA with {LEAST_RSA} to {LARGEST_RSA} bits")
