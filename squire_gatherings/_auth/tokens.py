"""Tokens: a signed token taken apart, and nothing believed yet.

The cheap checks come here, before anything is computed: how long it is, whether it has three parts
in base64url, each written in the only way that is right, and whether the header asks for nothing
that we don't do.
"""

import base64
import json
import re
from typing import Any, NoReturn

from attrs import field, frozen

MAX_TOKEN = 4096
"""How many characters a token may have."""
MAX_HEADER = 1024
MAX_SIGNATURE = 1024
"""How many characters a signature may have. One of RSA with 4,096 bits has 683."""
MAX_KID = 256

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

_NEVER = {"b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"}
"""Headers by which a token would bring its own key, or say that it means something else."""

_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
"""What a token's `typ` may be. The same keys may sign tokens of other kinds (RFC 8725)."""


class BadToken(Exception):
    """What came isn't a token that can be checked."""


@frozen
class Token:
    """A token whose form is right. Only its signature says whether it is true."""

    text: str = field(repr=False)
    algorithm: str
    kid: str | None
    payload: bytes = field(repr=False)


def parse_token(text: str) -> Token:
    """Take a token apart. Raises `BadToken`."""
    if not isinstance(text, str) or len(text) > MAX_TOKEN:
        raise BadToken("too long")
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise BadToken("not three parts")
    head, payload, signature = found.groups()
    if len(head) > MAX_HEADER or len(signature) > MAX_SIGNATURE:
        raise BadToken("a part is too long")
    header = parse_object(_decoded(head))
    _decoded(signature)
    algorithm, kid = header.get("alg"), header.get("kid")
    kind = header.get("typ", "jwt")
    if not isinstance(algorithm, str) or not _NEVER.isdisjoint(header):
        raise BadToken("a header that isn't taken")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise BadToken("another kind of token")
    if "kid" in header and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise BadToken("no kid")
    return Token(text, algorithm, kid, _decoded(payload))


def parse_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object that says everything once. Raises `BadToken`."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadToken("not JSON") from None
    if not isinstance(value, dict):
        raise BadToken("not an object")
    return value


def _decoded(part: str) -> bytes:
    padded = part + "=" * (-len(part) % 4)
    try:
        data = base64.urlsafe_b64decode(padded)
    except ValueError:
        raise BadToken("not base64url") from None
    # Some bits of the last character may count for nothing: then several texts mean the same.
    if base64.urlsafe_b64encode(data).decode() != padded:
        raise BadToken("not base64url")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} isn't JSON")
