"""A link: one WebSocket of the client under test, as the server at its other end sees it.

What goes out is put into frames here, not by the protocol object: that would refuse to send what a
story wants to send.
"""

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio
from attrs import define, field
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from squire_gatherings._conform.encodings import Encoding

RECEIVE_SIZE = 64 * 1024
MAX_MESSAGE = 16 * 1024 * 1024
PATIENCE_AT_THE_END = 2.0
"""How many seconds a client may take to notice that a connection ends."""
NO_CODE = 1006
"""Stands for the close code of a connection that ended without one."""

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_QUIET_LOG = logging.getLogger(__name__)
_QUIET_LOG.setLevel(logging.CRITICAL)
"""`websockets` would log what is in headers, also tokens."""


class HungUp(Exception):
    """The client is gone; `code` is that of its close frame, or `NO_CODE`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class BadFrames(Exception):
    """What the client sent is no WebSocket; says why."""


@define(eq=False)
class Link:
    """One WebSocket. One task uses it at a time."""

    stream: trio.SocketStream
    protocol: ServerProtocol
    request: Request
    offered: tuple[str, ...]
    """The subprotocols that the client offers."""
    released: trio.Event = field(factory=trio.Event)
    """Set when nobody needs it any more: the server closes it."""
    encoding: Encoding | None = None
    join: dict[str, Any] = field(factory=dict)
    """The client's join, once it came."""
    acked: int = 0
    """The last seq that the client has acknowledged here."""
    told: int = 0
    """The last seq that the client can know of by this link."""
    syncs: set[str] = field(factory=set)
    """The ids of the syncs that may not be sent again here."""
    pongs: int = 0
    _frames: deque[Frame] = field(factory=deque)
    _parts: list[bytes] = field(factory=list)

    # The handshake.

    async def accept(self, encoding: Encoding) -> None:
        """Answer the request: the WebSocket is open, in this encoding."""
        self.encoding = encoding
        response = self.protocol.accept(self.request)
        if response.status_code == 101 and self.offered:
            response.headers["Sec-WebSocket-Protocol"] = encoding.subprotocol
        self.protocol.send_response(response)
        await self._flush()
        if response.status_code != 101:
            said = bytes(response.body or b"").decode(errors="replace").strip()
            raise BadFrames(f"its opening request isn't that of a WebSocket: {said[:200]}")

    async def refuse(self, status: int, text: str) -> None:
        """Answer the request with an HTTP status."""
        self.protocol.send_response(self.protocol.reject(status, f"{text}\n"))
        await self._flush()
        self.release()

    # What goes out.

    def payload(self, *messages: Any) -> bytes:
        """Return these messages as frames, one each, one after the other."""
        assert self.encoding is not None
        return b"".join(self.frame(self.encoding.encode(message)) for message in messages)

    def frame(self, data: bytes, *, opcode: Opcode | None = None, fin: bool = True) -> bytes:
        """Return one frame of the server's."""
        assert self.encoding is not None
        kind = Opcode.TEXT if self.encoding.is_text else Opcode.BINARY
        return Frame(kind if opcode is None else opcode, data, fin).serialize(mask=False)

    def in_parts(self, message: Any, sizes: Sequence[int], between: bytes = b"") -> bytes:
        """Return a message in several frames, with `between` after each but the last."""
        assert self.encoding is not None
        data = self.encoding.encode(message)
        frames: list[bytes] = []
        for number, size in enumerate(sizes):
            opcode = None if number == 0 else Opcode.CONT
            frames.append(self.frame(data[:size], opcode=opcode, fin=False))
            data = data[size:]
        frames.append(self.frame(data, opcode=Opcode.CONT))
        return between.join(frames)

    async def send(self, *messages: Any) -> None:
        """Send these messages at once, in as few segments as may be."""
        await self.send_bytes(self.payload(*messages))

    async def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are. A client that is gone doesn't matter: reading tells."""
        with suppress(*_GONE):
            await self.stream.send_all(data)

    async def close(self, code: int, reason: str = "", *, after: bytes = b"") -> None:
        """Send a close frame, right behind `after`, wait for the answer, and let go."""
        frame = self.frame(code.to_bytes(2, "big") + reason.encode(), opcode=Opcode.CLOSE)
        await self.send_bytes(after + frame)
        with trio.move_on_after(PATIENCE_AT_THE_END):
            await self.drain()
        self.release()

    async def cut(self) -> None:
        """Break the connection, without a word. All that was sent before still arrives."""
        with suppress(*_GONE):
            await self.stream.send_eof()
            # Closing with something unread would take back what is on its way.
            with trio.move_on_after(PATIENCE_AT_THE_END):
                while await self.stream.receive_some(RECEIVE_SIZE):
                    pass
        self.release()

    def release(self) -> None:
        """Nobody needs it any more."""
        self.released.set()

    # What comes in.

    async def receive(self) -> bytes:
        """Return the next message's payload. Raises `HungUp`, `BadFrames`.

        Cancelled, nothing is lost.
        """
        assert self.encoding is not None
        while True:
            frame = await self._next()
            if frame.opcode is Opcode.PONG:
                self.pongs += 1
            elif frame.opcode is Opcode.CLOSE:
                close = self.protocol.close_rcvd
                # It is the server that closes the connection, once both have said goodbye.
                self.release()
                raise HungUp(NO_CODE if close is None else int(close.code))
            elif frame.opcode is not Opcode.PING:
                self._check_kind(frame.opcode)
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    data, self._parts = b"".join(self._parts), []
                    return data

    async def drain(self) -> None:
        """Read until the client is gone, or cancelled: so it gets the answer to its goodbye."""
        with suppress(HungUp, BadFrames):
            while True:
                await self.receive()

    def _check_kind(self, opcode: Opcode) -> None:
        assert self.encoding is not None
        right = Opcode.TEXT if self.encoding.is_text else Opcode.BINARY
        if opcode not in (right, Opcode.CONT):
            raise BadFrames(f"sent a {opcode.name} frame, which {self.encoding.name} isn't")

    async def _next(self) -> Frame:
        while not self._frames:
            try:
                data = await self.stream.receive_some(RECEIVE_SIZE)
            except _GONE:
                raise HungUp(NO_CODE) from None
            if not data:
                raise HungUp(NO_CODE)
            self.protocol.receive_data(data)
            for event in self.protocol.events_received():
                assert isinstance(event, Frame)
                self._frames.append(event)
            failure = self.protocol.parser_exc
            if failure is not None and not self._frames:
                raise BadFrames(f"sent frames that aren't a WebSocket's: {failure}"[:300])
            await self._flush()
        return self._frames.popleft()

    async def _flush(self) -> None:
        """Send what the protocol says by itself: pongs, the answer to a close frame."""
        try:
            data = b"".join(self.protocol.data_to_send())
        except InvalidState:
            return
        if data:
            await self.send_bytes(data)


async def open_link(stream: trio.SocketStream) -> Link | None:
    """Read a client's request; None if none comes."""
    protocol = ServerProtocol(max_size=MAX_MESSAGE, logger=_QUIET_LOG)
    while True:
        try:
            data = await stream.receive_some(RECEIVE_SIZE)
        except _GONE:
            return None
        if not data:
            return None
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                offered = event.headers.get_all("Sec-WebSocket-Protocol")
                names = tuple(one.strip() for line in offered for one in line.split(","))
                return Link(stream, protocol, event, names)
        if protocol.handshake_exc is not None:
            return None
