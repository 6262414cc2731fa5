"""The raw client: speaks the protocol message by message, with another WebSocket library."""

import json
from typing import Any

import msgspec
import trio
from attrs import define, field
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from squire_gatherings.testing._link import Link, LinkEnd

PACKED = "squire.v1+msgpack"


@define(eq=False)
class RawClient:
    """One client that does only what it is told to, but answers pings. See docs/protocol.md.

    It is made by `HallUnderTest.connect`.
    """

    link: Link
    """Its connection."""
    closed: tuple[int, str] | None = field(default=None, init=False)
    """The close code and the reason, once `hear` has come to the end."""
    _socket: WebSocketConnection = field(repr=False)

    @property
    def is_packed(self) -> bool:
        """Whether it speaks MessagePack."""
        return bool(self._socket.subprotocol == PACKED)

    async def say(self, **message: Any) -> None:
        """Send a message; `type` says which. Raises `EOFError` if the connection has ended."""
        await self.send(msgspec.msgpack.encode(message) if self.is_packed else json.dumps(message))

    async def send(self, data: str | bytes) -> None:
        """Send one frame with anything in it. Raises `EOFError` if the connection has ended."""
        try:
            await self._socket.send_message(data)
        except ConnectionClosed as error:
            raise self._end(error) from None

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """Return the next message, or the next of a type, without those before it.

        Raises:
            EOFError: The connection has ended; `closed` has the code.

        Cancellation: A checkpoint; nothing is taken.
        """
        message: dict[str, Any]
        while True:
            try:
                data = await self._socket.get_message()
            except ConnectionClosed as error:
                raise self._end(error) from None
            message = json.loads(data) if isinstance(data, str) else msgspec.msgpack.decode(data)
            if kind is None or message["type"] == kind:
                return message

    async def hear_end(self) -> tuple[int, str]:
        """Return the close code and the reason, after whatever comes before. A checkpoint."""
        try:
            while True:
                await self.hear()
        except EOFError:
            assert self.closed is not None
            return self.closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection politely. Cancellation: as `trio_websocket` does."""
        await self._socket.aclose(code, reason)

    def _end(self, error: ConnectionClosed) -> EOFError:
        why = error.reason
        self.closed = (1006, "") if why is None else (why.code, why.reason or "")
        return EOFError(f"the connection has ended: {self.closed}")


async def open_raw_client(
    end: LinkEnd,
    gathering_id: str,
    subprotocol: str,
    *,
    task_status: trio.TaskStatus[RawClient],
) -> None:
    """Shake hands, and keep the connection until it ends."""
    async with end, trio.open_nursery() as nursery:
        # Its annotation wants a socket, and the library itself takes any stream.
        stream: Any = end
        socket = await wrap_client_stream(
            nursery, stream, "memory", f"/gatherings/{gathering_id}", subprotocols=[subprotocol]
        )
        task_status.started(RawClient(end.link, socket))
