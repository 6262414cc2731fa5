"""Credentials: what a client says of itself on each connection, a token and headers.

Both may be secrets: no error and no log here repeats one.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import TypeVar

from attrs import frozen

from squire_gatherings._values.calls import takes
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.messages import MAX_TOKEN_LENGTH

T = TypeVar("T")


class TokenReason(StrEnum):
    """What a new token is wanted for."""

    JOIN = "join"
    """A new connection."""

    RENEW = "renew"
    """The rights on this connection are about to end."""

    EXPIRED = "expired"
    """They have ended."""


_Given = str | None | Awaitable[str | None]
Token = str | None | Callable[[], _Given] | Callable[[TokenReason], _Given]
"""A token, or what is asked for one on each connection, and whenever one is about to expire.

A function with a parameter is told the `TokenReason`.
"""

Headers = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Headers of the opening request by their names, or what is asked for them on each connection."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OF_THE_HANDSHAKE = {
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
}
"""These and `Sec-WebSocket-…` say how the connection is used, which is the client's to say."""


@frozen(repr=False)
class Credentials:
    """A client's token and headers, or what is asked for them."""

    token: Token = None
    headers: Headers | None = None

    def check(self) -> None:
        """Raise `BadSetting` for what can be seen to be wrong without asking."""
        if self.token is not None and not callable(self.token):
            check_token(self.token)
        if self.headers is not None and not callable(self.headers):
            check_headers(self.headers)

    @property
    def renews(self) -> bool:
        """Whether there may be another token later."""
        return callable(self.token)

    async def ask_for_token(self, why: TokenReason = TokenReason.JOIN) -> str | None:
        """Return the token for a connection. Raises `BadSetting`, and what the program raises."""
        token: object = self.token
        if callable(token):
            ask = partial(token, why) if takes(token, 1) else token
            token = await _ask(ask)
        return None if token is None else check_token(token)

    async def ask_for_headers(self) -> dict[str, str]:
        """Return the headers for a connection. Raises as `ask_for_token` does."""
        headers = await _ask(self.headers) if callable(self.headers) else self.headers
        return {} if headers is None else check_headers(headers)


async def _ask(ask: Callable[[], T | Awaitable[T]]) -> T:
    asked = ask()
    return await asked if isinstance(asked, Awaitable) else asked


def check_token(token: object) -> str:
    """Return a token; raise `BadSetting` if it's none."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN_LENGTH or not _is_sayable(token):
        raise BadSetting(f"a token is text of at most {MAX_TOKEN_LENGTH} characters")
    return token


def check_headers(headers: object) -> dict[str, str]:
    """Return a copy of headers; raise `BadSetting` if they can't be sent, or are the handshake's.

    Their values are printable ASCII: a line break would begin another header.
    """
    if not isinstance(headers, Mapping):
        raise BadSetting("headers are a mapping from names to values")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BadSetting("the name of a header isn't one")
        if name.lower() in _OF_THE_HANDSHAKE or name.lower().startswith("sec-websocket-"):
            raise BadSetting(f"the header {name[:40]} is the handshake's own")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise BadSetting(f"the header {name[:40]} has a value that isn't printable ASCII")
    return dict(headers)


def _is_sayable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
