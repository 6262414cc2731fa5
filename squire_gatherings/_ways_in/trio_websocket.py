"""The way in for programs that serve WebSockets with `trio-websocket` already."""

import trio
from attrs import frozen
from trio_websocket import ConnectionClosed, Endpoint, WebSocketConnection, WebSocketRequest

from squire_gatherings._hall.hall import Hall
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import Identity
from squire_gatherings._ways_in.attending import attend_channel
from squire_gatherings._ways_in.channel_connection import ClientLeft
from squire_gatherings._wire.codecs import JSON


async def attend(
    hall: Hall,
    gathering_id: str,
    ws: WebSocketConnection,
    *,
    request: WebSocketRequest | None = None,
    identity: Identity | None = None,
    settings: ServerSettings | None = None,
    peer: str | None = None,
) -> None:
    """Let the client of a WebSocket into a gathering; return when its connection has ended.

    For the handler of `trio_websocket.serve_websocket`, after it has accepted the WebSocket. Routes
    and cookies are the program's own. The messages, limits, notices and close codes are as our own
    server's. `trio-websocket` itself refuses messages larger than its `max_message_size`.

    Args:
        hall: The hall that has the gathering.
        gathering_id: The gathering's id.
        ws: The WebSocket, accepted with one of the `SUBPROTOCOLS`:
            `request.accept(subprotocol="squire.v1+json")`. Without one, JSON is spoken.
        request: The request that was accepted, for the hall's `authenticate`. It comes without
            `Host`, which trio-websocket doesn't tell.
        identity: Who the client is, if the program knows. Otherwise the hall's `authenticate` is
            asked.
        settings: The connection's limits.
        peer: The client's address, under which anonymous clients share a rate limit. Give it where
            a proxy is in between. Without it, it is that of the WebSocket's socket.

    Raises:
        BadSetting: The WebSocket was accepted with a subprotocol that isn't one of ours.

    Cancellation: the client is told that the server goes away, within `close_timeout` seconds.
    """
    remote = ws.remote
    if peer is None and isinstance(remote, Endpoint):
        peer = str(remote.address)
    seen = None
    if request is not None:
        seen = HandshakeRequest(
            path=request.path,
            headers=[
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers
            ],
            peer=peer,
            subprotocols=request.proposed_subprotocols,
        )
    await attend_channel(
        hall,
        gathering_id,
        _WebSocketChannel(ws),
        subprotocol=ws.subprotocol or JSON.subprotocol,
        identity=identity,
        settings=settings,
        request=seen,
        peer=peer,
    )


@frozen
class _WebSocketChannel:
    """A `Channel` made of a `trio-websocket` connection."""

    ws: WebSocketConnection

    async def receive(self) -> str | bytes:
        try:
            return await self.ws.get_message()
        except ConnectionClosed as closed:
            code = None if closed.reason is None else closed.reason.code
            raise (ClientLeft if code == CloseCode.LEFT else trio.EndOfChannel) from None

    async def send(self, data: str | bytes) -> None:
        try:
            await self.ws.send_message(data)
        except ConnectionClosed:
            raise trio.BrokenResourceError from None

    async def close(self, code: int, reason: str) -> None:
        await self.ws.aclose(code, reason)
