"""Carriers: the places in which a client may send its token.

They are the `join`, `Authorization: Bearer`, a subprotocol, and a cookie; never the URL, which
servers, proxies and browsers keep in logs and histories.
"""

from collections.abc import Iterator

from squire_gatherings._values.errors import Unauthorized
from squire_gatherings._values.handshake import (
    TOKEN_IN_URL,
    TOKEN_SUBPROTOCOL,
    HandshakeRequest,
    has_token_in_url,
)
from squire_gatherings._values.origins import NOT_ALLOWED, OriginRule

DIFFERENT = "the request and the join have different tokens"


def find_token(
    token: str | None,
    request: HandshakeRequest | None,
    *,
    cookie: str | None,
    origins: OriginRule,
) -> str | None:
    """Return the token that a client sent; None if it sent none.

    Args:
        token: That of the `join`.
        request: The request by which the client came.
        cookie: The name of the cookie that may have it; None if none may.
        origins: The pages from which a cookie counts.

    Raises:
        Unauthorized: There are several that aren't the same, or one in the URL.
    """
    found = set() if token is None else {token}
    if request is not None:
        if has_token_in_url(request.path):
            raise Unauthorized(TOKEN_IN_URL)
        found.update(_sent(request))
        if cookie is not None:
            cookies = set(_cookies(request, cookie))
            # A browser sends it with the requests of any page.
            if cookies and not origins.allows(request.headers):
                raise Unauthorized(NOT_ALLOWED)
            found |= cookies
    if len(found) > 1:
        raise Unauthorized(DIFFERENT)
    return next(iter(found), None)


def _sent(request: HandshakeRequest) -> Iterator[str]:
    for name, value in request.headers:
        if name.lower() == "authorization":
            scheme, _, credentials = value.strip().partition(" ")
            # Another scheme is somebody else's: a proxy's, say.
            if scheme.lower() == "bearer":
                yield credentials.strip()
    for subprotocol in request.subprotocols:
        if subprotocol.startswith(TOKEN_SUBPROTOCOL):
            yield subprotocol.removeprefix(TOKEN_SUBPROTOCOL)


def _cookies(request: HandshakeRequest, wanted: str) -> Iterator[str]:
    """Give each cookie of that name: another host of the domain may have added one."""
    for name, value in request.headers:
        if name.lower() == "cookie":
            for pair in value.split(";"):
                key, _, found = pair.strip().partition("=")
                if key == wanted:
                    quoted = len(found) > 1 and found[0] == found[-1] == '"'
                    yield found[1:-1] if quoted else found
