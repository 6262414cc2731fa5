"""The way in for ASGI programs on Trio: hypercorn, and frameworks that route its WebSockets.

ASGI is an interface of plain dicts (https://asgi.readthedocs.io/en/latest/specs/www.html), so this
needs no library.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from attrs import frozen

from squire_gatherings._hall.hall import Hall
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.origins import OriginRule, is_loopback
from squire_gatherings._ways_in.attending import attend_channel
from squire_gatherings._ways_in.channel_connection import ClientLeft
from squire_gatherings._wire.codecs import CODECS, JSON

POLICY_VIOLATION = 1008


async def attend_asgi(
    hall: Hall,
    gathering_id: str,
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
    *,
    identity: Identity | None = None,
    settings: ServerSettings | None = None,
) -> None:
    """Accept an ASGI WebSocket and let its client into a gathering; return when it has ended.

    For an ASGI application on Trio, with what it was called with, before it has received anything.
    A client that offers subprotocols, but none of ours, is refused; one that offers none is spoken
    JSON to. So is a browser on a page from elsewhere (`ServerSettings.allow_origins`). The
    messages, limits, notices and close codes are as our own server's; what belongs to frames
    (pings, the size of what is received) is the ASGI server's.

    Args:
        hall: The hall that has the gathering.
        gathering_id: The gathering's id.
        scope: The connection's scope, of type `websocket`.
        receive: Brings its events.
        send: Takes the application's events.
        identity: Who the client is, if the program knows. Otherwise the hall's `authenticate` is
            asked, and sees path, headers, cookies and address.
        settings: The connection's limits.

    Raises:
        ValueError: The scope isn't a WebSocket's.

    Cancellation: the client is told that the server goes away, within `close_timeout` seconds.
    """
    if scope["type"] != "websocket":
        raise ValueError(f"the scope is of type {scope['type']!r:.80}, not 'websocket'")
    channel = _AsgiChannel(receive, send)
    if (await receive())["type"] != "websocket.connect":
        return
    request = _request_of(scope)
    subprotocol = next((one for one in request.subprotocols if one in CODECS), None)
    rule = OriginRule((settings or ServerSettings()).allow_origins, _is_local(scope))
    is_refused = not rule.allows(request.headers)
    if is_refused or (subprotocol is None and request.subprotocols):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        return
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
    await attend_channel(
        hall,
        gathering_id,
        channel,
        subprotocol=subprotocol or JSON.subprotocol,
        identity=identity,
        request=request,
        settings=settings,
    )


def _is_local(scope: Mapping[str, Any]) -> bool:
    server = scope.get("server")
    return server is not None and is_loopback(server[0])


def _request_of(scope: Mapping[str, Any]) -> HandshakeRequest:
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string") or b""
    client = scope.get("client")
    return HandshakeRequest(
        path=(path + b"?" + query if query else path).decode("latin-1"),
        headers=[
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ],
        peer=None if client is None else client[0],
        subprotocols=scope.get("subprotocols") or (),
    )


@frozen
class _AsgiChannel:
    """A `Channel` made of an ASGI application's two callables."""

    _receive: Callable[[], Awaitable[Any]]
    _send: Callable[[Any], Awaitable[None]]

    async def receive(self) -> str | bytes:
        event = await self._receive()
        if event["type"] != "websocket.receive":
            raise ClientLeft if event.get("code") == CloseCode.LEFT else trio.EndOfChannel
        text: str | None = event.get("text")
        data: bytes = event.get("bytes") or b""
        return data if text is None else text

    async def send(self, data: str | bytes) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        await self._tell({"type": "websocket.send", kind: data})

    async def close(self, code: int, reason: str) -> None:
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    async def _tell(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except OSError:
            # ASGI's specification says that of a client that has gone.
            raise trio.BrokenResourceError from None
