"""The network in memory: links that are narrow or stalled, and that break at any byte."""

from collections.abc import Callable
from typing import Literal

import trio
from attrs import define, field

ENDLESS = 2**62
Break = Literal["end", "reset"]
"""How a link breaks: with "end", what was sent before still arrives; with "reset", it is lost."""


def _nobody(data: bytes) -> None:
    """Do nothing: nobody watches."""


@define(eq=False)
class Pipe:
    """One direction of a link: what was sent and hasn't been received."""

    room: int = ENDLESS
    """The number of bytes that it holds; a sender waits while it is full."""
    piece: int = 65536
    """The most bytes that are received at once."""
    stalled: bool = False
    """Whether nothing arrives for now."""
    reset: bool = False
    finished: bool = False
    """Whether nothing more is sent."""
    deaf: bool = False
    """Whether nobody receives any more."""
    was_full: bool = False
    """Whether a sender ever had to wait: received bytes may be older than they seem."""
    breaks_after: int = -1
    """The number of bytes after which the link breaks; below 0 it doesn't break."""
    put: Callable[[bytes], None] = _nobody
    """Called with what is sent, when it is sent."""
    taken: Callable[[bytes], None] = _nobody
    """Called with what is received, when it is received."""
    held: bytearray = field(factory=bytearray)
    lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)


@define(eq=False)
class Link:
    """A connection between a client and the server."""

    up: Pipe = field(factory=Pipe)
    """From the client to the server."""
    down: Pipe = field(factory=Pipe)
    breaks: Break = "end"
    """How it breaks once its chosen byte is reached."""
    broken: bool = False
    troubled: bool = False
    """Whether the client ever couldn't be reached, or didn't answer."""
    is_relayed: bool = False
    """Whether a socket relays what is received here, so that the server gets it later."""
    server_left: Callable[[], None] = lambda: None
    """Called when the server closes its end."""
    ended: Callable[[], None] = lambda: None
    """Called when the link breaks, and when the client closes its end."""

    @property
    def client_end(self) -> "End":
        return End(self, self.up, self.down)

    @property
    def server_end(self) -> "End":
        return End(self, self.down, self.up, is_server=True)

    def cut(self, how: Break = "end") -> None:
        """Break the link, for both sides."""
        self.broken = True
        for pipe in (self.up, self.down):
            pipe.finished = pipe.deaf = True
            pipe.stalled = False
            if how == "reset":
                pipe.reset = True
                pipe.held.clear()
            pipe.lot.unpark_all()
        self.ended()

    def stall(self, *, up: bool, down: bool) -> None:
        """Stop everything in these directions, and let the other directions flow."""
        self.troubled |= up or down
        for pipe, stalled in ((self.up, up), (self.down, down)):
            pipe.stalled = stalled and not self.broken
            pipe.lot.unpark_all()


@define(eq=False, weakref_slot=True)
class End(trio.abc.HalfCloseableStream):
    """One end of a link."""

    link: Link
    out: Pipe
    into: Pipe
    is_server: bool = False
    _closed: bool = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = bytes(data)
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            if self.out.reset or self.out.deaf or self.out.finished:
                raise trio.BrokenResourceError("the link is broken")
            if not rest:
                return
            free = self.out.room - len(self.out.held)
            if free > 0:
                self._put(rest[:free])
                rest = rest[free:]
            else:
                self.out.was_full = True
                await self.out.lot.park()

    def _put(self, data: bytes) -> None:
        pipe = self.out
        if pipe.breaks_after >= 0:
            data = data[: pipe.breaks_after]
            pipe.breaks_after -= len(data)
        pipe.held += data
        pipe.put(data)
        pipe.lot.unpark_all()
        if pipe.breaks_after == 0:
            self.link.cut(self.link.breaks)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        while len(self.out.held) >= self.out.room and not (self.out.deaf or self._closed):
            await self.out.lot.park()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        pipe = self.into
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            if pipe.reset:
                raise trio.BrokenResourceError("the link was reset")
            if pipe.held and not pipe.stalled:
                most = min(max_bytes or pipe.piece, pipe.piece)
                data = bytes(pipe.held[:most])
                del pipe.held[:most]
                pipe.lot.unpark_all()
                pipe.taken(data)
                return data
            if pipe.finished and not pipe.stalled:
                return b""
            await pipe.lot.park()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this end was closed")
        self.out.finished = True
        self.out.lot.unpark_all()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self.out.finished = self.into.deaf = True
            self.out.lot.unpark_all()
            self.into.lot.unpark_all()
            if self.is_server:
                self.link.server_left()
            else:
                self.link.ended()
        await trio.lowlevel.checkpoint()


async def relay(end: End, stream: trio.abc.Stream) -> None:
    """Copy bytes between a server's end and another stream, until either side ends it."""
    async with end, stream:

        async def up() -> None:
            try:
                while data := await end.receive_some():
                    await stream.send_all(data)
                if isinstance(stream, trio.abc.HalfCloseableStream):
                    await stream.send_eof()
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async def down() -> None:
            try:
                while data := await stream.receive_some():
                    await end.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(up)
            nursery.start_soon(down)
