"""The client's end of a WebSocket: `websockets`' Sans-I/O core over any Trio stream.

It ends in `Lost`. Not `trio-websocket`'s: see docs/dependencies.md.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

import trio
from attrs import define, field
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState, InvalidStatus, PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from squire_gatherings._client.patience import LATE, SLOWEST, Patience
from squire_gatherings._hall.lateness import is_late
from squire_gatherings._wire.underway import Underway, underway
from squire_gatherings._wire.websockets_core import MAX_QUOTE, QUIET_LOG, quote, reason_of, retire

RECEIVE_SIZE = 64 * 1024
SEND_SIZE = 16 * 1024
"""How much is sent at once, so that a slow link is seen to move."""

REDIRECT = 307
"""The HTTP status with which a node names the one that has a gathering."""

_TLS_ALERT = b"\x15\x03"
"""How a server that speaks TLS begins its answer to one that doesn't (RFC 8446, section 5.1)."""


class Lost(Exception):
    """The connection ended; `code` is the close code, if there was one."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


class Redirected(Lost):
    """The server says that another one has what we ask for: where `location` says."""

    def __init__(self, why: str, location: str) -> None:
        super().__init__(why)
        self.location = location


@define(eq=False)
class WebSocket:
    """One WebSocket. One task may receive while others send; the stream stays the caller's."""

    _stream: trio.abc.Stream
    _uri: WebSocketURI
    _subprotocol: str
    _max_message_size: int
    _protocol: ClientProtocol = field(init=False)
    _events: deque[Request | Response | Frame] = field(factory=deque)
    """What has come, and nobody has asked for; pings among it are answered already, or soon."""
    _sending: trio.Lock = field(factory=trio.Lock)
    _answered: trio.Event = field(factory=trio.Event)
    _partial: bytearray = field(factory=bytearray)
    """What has come of a message that isn't whole yet."""
    patience: Patience = field(factory=Patience)
    """Told of each byte that moves, in either direction."""
    _underway: Underway = field(init=False)
    _sent: int = 0
    """How many bytes have been sent, or are being."""
    _heard: bool = False
    """Whether any byte has come."""
    _cut_off: bool = False
    """Whether a frame has gone out only in part, so that nothing may follow it."""

    @_protocol.default
    def _new_protocol(self) -> ClientProtocol:
        return ClientProtocol(
            self._uri,
            subprotocols=[Subprotocol(self._subprotocol)],
            max_size=self._max_message_size,
            logger=QUIET_LOG,
        )

    @_underway.default
    def _ask_the_kernel(self) -> Underway:
        return underway(self._stream)

    async def shake_hands(self, headers: Mapping[str, str]) -> None:
        """Ask for the WebSocket, with these headers besides. Raises `Lost`.

        Cancelled, the stream is in the middle of something and must be closed.
        """
        protocol = self._protocol
        request = protocol.connect()
        request.headers.update(headers)
        await self._send(lambda: protocol.send_request(request))
        response = await self._next()
        assert isinstance(response, Response)
        failure = protocol.handshake_exc
        if isinstance(failure, InvalidStatus):
            raise _refusal(response)
        if failure is not None:
            raise self._broken(failure)
        if protocol.subprotocol is None:
            raise Lost(f"the server doesn't speak {self._subprotocol}")

    async def send_text(self, text: str) -> None:
        """Send a message. Cancelled, it may be cut off: the stream must be closed then."""
        await self._send(lambda: self._protocol.send_text(text.encode()))

    async def receive_text(self) -> str:
        """Wait for the next message; answers pings meanwhile. Cancelled, none is lost."""
        while True:
            frame = await self._next()
            assert isinstance(frame, Frame)
            if frame.opcode is Opcode.BINARY:
                raise Lost("the server sent a binary message, which JSON isn't")
            if frame.opcode is Opcode.PING:
                # A task that is sending sends the pong, too; this one must go on reading. If the
                # connection is lost for sending, what came may still be read.
                if not self._sending.locked():
                    with suppress(Lost):
                        await self._send()
            elif frame.opcode is Opcode.PONG:
                self._answered.set()
            elif frame.opcode is Opcode.CLOSE:
                with suppress(Lost):
                    await self._send()
                close = self._protocol.close_rcvd
                assert close is not None
                why = f"the server closed: {close.code} {close.reason}".rstrip()
                raise Lost(why, close.code)
            elif frame.fin and not self._partial:
                return await self._decode(frame.data)
            else:
                # One buffer of bytes: a list of parts would grow with empty fragments.
                self._partial += frame.data
                if frame.fin:
                    data, self._partial = self._partial, bytearray()
                    return await self._decode(data)

    async def ping(self, patience: float) -> None:
        """Ping the server, and wait until a task that receives sees it answer.

        Raises `Lost` when nothing has moved for `patience` seconds, in either direction: the
        answer may lie behind much else. Cancelled, a message may be cut off.
        """
        self._answered = trio.Event()
        while True:
            with self.patience.wait(patience) as scope:
                await self._send(lambda: self._protocol.send_ping(b""))
            if not scope.cancelled_caught or not is_late(scope.deadline, LATE):
                break
        while not scope.cancelled_caught:
            gone = self._gone
            with self.patience.wait(patience) as scope:
                await self._answered.wait()
                return
            if is_late(scope.deadline, LATE) or self._gone - gone >= SLOWEST * patience:
                # We were held up, not the server: what it said meanwhile comes first. Or the ping
                # is still on its way, behind what the kernel has of ours.
                scope = trio.CancelScope()
        raise Lost(f"the server didn't answer a ping within {patience:g} s")

    @property
    def _gone(self) -> int:
        """How many bytes have reached the server's host, as far as can be told."""
        return self._sent - self._underway()

    async def say_goodbye(self) -> None:
        """Send a close frame and wait for the answer; no other task may receive."""
        with suppress(Lost):
            await self._send(lambda: self._close(CloseCode.NORMAL_CLOSURE))
            while True:
                event = await self._next()
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    return

    def retire(self) -> None:
        """Leave no garbage; it is of no more use."""
        retire(self._protocol)

    async def _next(self) -> Request | Response | Frame:
        protocol = self._protocol
        while not self._events:
            failure = protocol.handshake_exc or protocol.parser_exc
            if failure is not None:
                # A close frame that says why; nobody may be there to read it.
                with suppress(Lost):
                    await self._send()
                raise self._broken(failure)
            try:
                data = await self._stream.receive_some(RECEIVE_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if data:
                if not self._heard and data.startswith(_TLS_ALERT):
                    raise Lost("the server speaks TLS there: its URL begins with wss://")
                self._heard = True
                self.patience.moved(len(data))
                protocol.receive_data(data)
            elif protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                # It may have been the end of a refusal whose length wasn't told.
                protocol.receive_eof()
            self._events.extend(protocol.events_received())
            if not data and not self._events:
                raise Lost("the connection broke" + ("" if self._heard else self._hint))
        return self._events.popleft()

    @property
    def _hint(self) -> str:
        """What may be wrong where the server hangs up without a word."""
        return "" if self._uri.secure else " at once (if it speaks TLS, its URL begins with wss://)"

    async def _send(self, put: Callable[[], None] | None = None) -> None:
        """Send what `put` puts into the protocol, and what it wants to say by itself."""
        async with self._sending:
            if self._cut_off:
                raise Lost("a message was cut off")
            try:
                if put is not None:
                    put()
                while data := b"".join(self._protocol.data_to_send()):
                    self._cut_off = True
                    await self._send_all(data)
                    self._cut_off = False
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Lost("the connection broke") from None
            except InvalidState:
                raise Lost("the WebSocket is closing") from None

    async def _send_all(self, data: bytes) -> None:
        self._sent += len(data)
        if len(data) <= SEND_SIZE:
            await self._stream.send_all(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), SEND_SIZE):
            part = view[start : start + SEND_SIZE]
            await self._stream.send_all(part)
            self.patience.moved(len(part))

    def _close(self, code: CloseCode) -> None:
        # If the server closed already, the answer waits to be sent.
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code)

    async def _decode(self, data: bytes | bytearray | memoryview) -> str:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            reason = error.reason
        with suppress(Lost):
            await self._send(lambda: self._close(CloseCode.INVALID_DATA))
        raise Lost(f"the server sent a text that isn't UTF-8: {reason}")

    def _broken(self, failure: Exception) -> Lost:
        if isinstance(failure, PayloadTooBig):
            return Lost(f"the server sent a message over {self._max_message_size} bytes")
        why = quote(reason_of(failure))
        return Lost(f"not a WebSocket server, or broken on the way: {why}")


def _refusal(response: Response) -> Lost:
    said = quote(bytes(response.body or b"")[: 4 * MAX_QUOTE].decode(errors="replace").strip())
    why = f"the server answered {response.status_code}" + (f": {said}" if said else "")
    locations = response.headers.get_all("Location")
    if response.status_code == REDIRECT and len(locations) == 1:
        return Redirected(why, locations[0])
    return Lost(why)
