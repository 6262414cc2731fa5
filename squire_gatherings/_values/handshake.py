"""The HTTP request with which a client asks for a WebSocket, as authentication sees it."""

import re
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote_plus

from attrs import field, frozen

TOKEN_SUBPROTOCOL = "squire.token."
"""How a subprotocol begins that is a token: a browser can't send headers of its own."""

FOLLOWS = {"Squire-Follows": "307"}
"""The header of a client that can be sent to another node by a redirect."""

TOKEN_IN_URL = (
    "a token doesn't go into a URL, which ends up in logs and histories: send it in the join,"
    " in Authorization: Bearer, or as a subprotocol squire.token.TOKEN"
)

_TOKEN = re.compile(r"(?:^|[?&;])\s*(?:access_)?token\s*(?:[=&;]|$)", re.IGNORECASE)


def has_token_in_url(target: str) -> bool:
    """Whether the query of a request's target has a `token` or an `access_token`."""
    query = target.partition("?")[2]
    return bool(query) and _TOKEN.search(unquote_plus(query)) is not None


def _pairs(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers)


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen(kw_only=True)
class HandshakeRequest:
    """What a client said when it asked for its WebSocket.

    Its headers, cookies, subprotocols and path may hold secrets, so its repr doesn't show them.
    """

    path: str = field(repr=False)
    """The request's target, as sent: a path, and a query where there is one."""

    headers: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs, repr=False)
    """Names and values, in the order in which they were sent."""

    peer: str | None = None
    """The client's address, without its port; None where it isn't known."""

    subprotocols: tuple[str, ...] = field(default=(), converter=_texts, repr=False)
    """The subprotocols that the client offers, its favourite first; one may be a token."""

    def header(self, name: str) -> str | None:
        """Return a header's value; None if it wasn't sent.

        Values of several headers with the same name are joined by commas (RFC 9110, section 5.3).

        Args:
            name: The header's name, in upper or lower case.
        """
        name = name.lower()
        values = [value for one, value in self.headers if one.lower() == name]
        return ", ".join(values) if values else None

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that were sent, by name. Those that can't be read are left out."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            if name.lower() == "cookie":
                for pair in value.split(";"):
                    try:
                        cookies = SimpleCookie(pair.strip())
                    except CookieError:
                        continue
                    for key, morsel in cookies.items():
                        found.setdefault(key, morsel.value)
        return found
