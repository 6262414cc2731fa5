"""The client's end of a WebSocket: `wsproto` over any Trio stream; it ends in `Lost`.

Not `trio-websocket`'s: see docs/dependencies.md.
"""

from collections import deque
from contextlib import suppress
from http import HTTPStatus

import trio
import wsproto
from attrs import define, field
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from squire_gatherings.values.errors import CannotConnect

RECEIVE_SIZE = 64 * 1024
MAX_REFUSAL = 16 * 1024


class Lost(Exception):
    """The connection ended; `code` is the close code, if there was one."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


def _new_protocol() -> wsproto.WSConnection:
    return wsproto.WSConnection(wsproto.ConnectionType.CLIENT)


@define(eq=False)
class WebSocket:
    """One WebSocket. One task may receive while others send; the stream stays the caller's."""

    _stream: trio.abc.Stream
    _max_message_size: int
    _protocol: wsproto.WSConnection = field(factory=_new_protocol)
    _events: deque[Event] = field(factory=deque)
    _sending: trio.Lock = field(factory=trio.Lock)
    _answered: trio.Event = field(factory=trio.Event)
    _partial: list[str] = field(factory=list)
    _size: int = 0
    _cut_off: bool = False
    """Whether a frame has gone out only in part, so that nothing may follow it."""

    async def shake_hands(self, host: str, target: str, subprotocol: str) -> None:
        """Ask for the WebSocket at `target`. Raises `Lost`, or `CannotConnect` for good.

        Cancelled, the stream is in the middle of something and must be closed.
        """
        await self._send(Request(host=host, target=target, subprotocols=[subprotocol]))
        status = 0
        body = bytearray()
        while True:
            event = await self._next()
            if isinstance(event, AcceptConnection):
                if event.subprotocol != subprotocol:
                    raise CannotConnect(f"the server doesn't speak {subprotocol}")
                return
            if isinstance(event, RejectConnection):
                status = event.status_code
                if not event.has_body:
                    raise _refusal(status, body)
            elif isinstance(event, RejectData):
                body += event.data
                if event.body_finished or len(body) > MAX_REFUSAL:
                    raise _refusal(status, body)

    async def send_text(self, text: str) -> None:
        """Send a message. Cancelled, it may be cut off: the stream must be closed then."""
        await self._send(TextMessage(data=text))

    async def receive_text(self) -> str:
        """Wait for the next message; answers pings meanwhile. Cancelled, none is lost."""
        while True:
            event = await self._next()
            if isinstance(event, TextMessage):
                self._size += len(event.data)
                if self._size > self._max_message_size:
                    await self._send(CloseConnection(CloseReason.MESSAGE_TOO_BIG))
                    raise Lost(f"the server sent a message over {self._max_message_size} bytes")
                self._partial.append(event.data)
                if event.message_finished:
                    text = "".join(self._partial)
                    self._partial, self._size = [], 0
                    return text
            elif isinstance(event, BytesMessage):
                raise Lost("the server sent a binary message, which JSON isn't")
            elif isinstance(event, Ping):
                await self._send(event.response())
            elif isinstance(event, Pong):
                self._answered.set()
            elif isinstance(event, CloseConnection):
                with suppress(Lost):
                    await self._send(event.response())
                why = f"the server closed: {event.code} {event.reason or ''}".rstrip()
                raise Lost(why, event.code)

    async def ping(self) -> None:
        """Ping the server, and wait until a task that receives sees it answer."""
        self._answered = trio.Event()
        await self._send(Ping())
        await self._answered.wait()

    async def say_goodbye(self) -> None:
        """Send a close frame and wait for the answer; no other task may receive."""
        with suppress(Lost):
            await self._send(CloseConnection(CloseReason.NORMAL_CLOSURE))
            while not isinstance(await self._next(), CloseConnection):
                pass

    async def _next(self) -> Event:
        while not self._events:
            try:
                data = await self._stream.receive_some(RECEIVE_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise Lost("the connection broke")
            try:
                self._protocol.receive_data(bytes(data))
                self._events.extend(self._protocol.events())
            except (RemoteProtocolError, LocalProtocolError, ValueError) as error:
                raise Lost(f"not a WebSocket server, or broken on the way: {error}") from None
        return self._events.popleft()

    async def _send(self, event: Event) -> None:
        async with self._sending:
            if self._cut_off:
                raise Lost("a message was cut off")
            try:
                data = self._protocol.send(event)
                self._cut_off = True
                await self._stream.send_all(data)
                self._cut_off = False
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Lost("the connection broke") from None
            except LocalProtocolError:
                raise Lost("the WebSocket is closing") from None


def _refusal(status: int, body: bytearray) -> Exception:
    said = body[:200].decode(errors="replace").strip()
    why = f"the server answered {status}" + (f": {said}" if said else "")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return Lost(why)
    return CannotConnect(why)
