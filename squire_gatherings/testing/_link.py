"""The link: a connection in memory that is narrow, slow or stalled, or breaks at a chosen byte."""

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

import trio
from attrs import define, field

ENDLESS = 2**62
"""The room of a pipe that never fills up."""

Break = Literal["end", "reset"]
"""How a link breaks: with "end", what was sent before still arrives; with "reset", it is lost."""


def _unwatched(data: bytes) -> None:
    """Do nothing: nobody watches."""


def _unheard() -> None:
    """Do nothing: nobody listens."""


@define(eq=False)
class Pipe:
    """One direction of a link. Who changes it while somebody waits calls `Link.stir`."""

    room: int = ENDLESS
    """The number of bytes that it holds; a sender waits while it is full."""
    piece: int = 65536
    """The most bytes that are received at once."""
    delay: float = 0.0
    """How many seconds bytes that are sent from now on are under way."""
    stalled: bool = False
    """Whether nothing arrives for now."""
    breaks_after: int = -1
    """The number of bytes after which the link breaks; below 0 it doesn't break."""
    put: Callable[[bytes], None] = _unwatched
    """Called with what is sent, when it is sent."""
    taken: Callable[[bytes], None] = _unwatched
    """Called with what is received, when it is received."""
    reset: bool = False
    """Whether what was sent is lost, and the receiver is told that the link is broken."""
    finished: bool = False
    """Whether nothing more is sent."""
    deaf: bool = False
    """Whether nobody receives any more."""
    was_full: bool = False
    """Whether a sender ever had to wait: received bytes may be older than they seem."""
    held: bytearray = field(factory=bytearray)
    """What was sent and hasn't been received."""
    _under_way: deque[tuple[float, int]] = field(factory=deque)
    """When bytes arrive, and how many; those that arrived at once aren't here."""
    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, repr=False)

    def add(self, data: bytes) -> None:
        """Take what is sent."""
        self.held += data
        if self.delay or self._under_way:
            at = trio.current_time() + self.delay
            before = self._under_way[-1][0] if self._under_way else at
            self._under_way.append((max(at, before), len(data)))
        self.put(data)
        self.stir()

    def take(self, most: int) -> bytes:
        """Give what has arrived, at most so many bytes; nothing if nothing has."""
        self._arrive()
        there = len(self.held) - sum(size for _, size in self._under_way)
        data = bytes(self.held[: min(most, self.piece, there)])
        if data:
            del self.held[: len(data)]
            self.stir()
            self.taken(data)
        return data

    def _arrive(self) -> None:
        now = trio.current_time()
        while self._under_way and self._under_way[0][0] <= now:
            self._under_way.popleft()

    def lose(self) -> None:
        """Lose what is under way, and tell the receiver that the link is broken."""
        self.reset = True
        self.held.clear()
        self._under_way.clear()

    def stir(self) -> None:
        """Have both sides look again."""
        self._lot.unpark_all()

    async def wait(self) -> None:
        """Return when something may have changed. Cancellation: nothing is taken."""
        at = self._under_way[0][0] if self._under_way and not self.stalled else math.inf
        with trio.move_on_at(at):
            await self._lot.park()


@define(eq=False)
class Link:
    """A connection between a client and a server. Each end is a Trio stream."""

    name: str = ""
    """Whose connection it is, for people and for `Network.of`."""
    up: Pipe = field(factory=Pipe)
    """From the client to the server."""
    down: Pipe = field(factory=Pipe)
    """From the server to the client."""
    breaks: Break = "end"
    """How it breaks once a pipe's chosen byte (`Pipe.breaks_after`) is reached."""
    broken: bool = False
    """Whether it was cut, or has broken."""
    server_left: Callable[[], None] = _unheard
    """Called when the server closes its end."""
    ended: Callable[[], None] = _unheard
    """Called when the link breaks, and when the client closes its end."""

    @property
    def client_end(self) -> "LinkEnd":
        """The client's end: make one only."""
        return LinkEnd(self, self.up, self.down)

    @property
    def server_end(self) -> "LinkEnd":
        """The server's end: make one only."""
        return LinkEnd(self, self.down, self.up, is_server=True)

    def cut(self, how: Break = "end") -> None:
        """Break the link, for both sides."""
        self.broken = True
        for pipe in (self.up, self.down):
            pipe.finished = pipe.deaf = True
            pipe.stalled = False
            if how == "reset":
                pipe.lose()
        self.stir()
        self.ended()

    def cut_after(self, count: int, *, up: bool = False, how: Break = "end") -> None:
        """Break the link when so many bytes more were sent, even in the middle of a message.

        Args:
            count: The number of bytes that still go through.
            up: Whether the client's bytes are counted; otherwise the server's are.
            how: Whether the bytes before still arrive.
        """
        self.breaks = how
        (self.up if up else self.down).breaks_after = count
        if not count:
            self.cut(how)

    def stall(self, *, up: bool, down: bool) -> None:
        """Stop everything in these directions, and let the other directions flow.

        With one direction only the connection is half open. What is sent meanwhile arrives later.
        """
        for pipe, stalled in ((self.up, up), (self.down, down)):
            pipe.stalled = stalled and not self.broken
        self.stir()

    def stir(self) -> None:
        """Have both ends look again, after a pipe was changed."""
        self.up.stir()
        self.down.stir()


@define(eq=False, weakref_slot=True)
class LinkEnd(trio.abc.HalfCloseableStream):
    """One end of a link.

    Every call is a checkpoint. A `receive_some` that is cancelled has taken nothing; a `send_all`
    that is cancelled may have sent a part.
    """

    link: Link
    _out: Pipe
    _into: Pipe
    is_server: bool = False
    """Whether it is the server's."""
    _closed: bool = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all, as fast as there is room.

        Raises `trio.BrokenResourceError` on a link that is broken, or whose other end is closed.
        """
        await trio.lowlevel.checkpoint()
        rest, pipe = bytes(data), self._out
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            if pipe.reset or pipe.deaf or pipe.finished:
                raise trio.BrokenResourceError("the link is broken")
            if not rest:
                return
            free = pipe.room - len(pipe.held)
            if free > 0:
                self._put(rest[:free])
                rest = rest[free:]
            else:
                pipe.was_full = True
                await pipe.wait()

    def _put(self, data: bytes) -> None:
        pipe = self._out
        if pipe.breaks_after >= 0:
            data = data[: pipe.breaks_after]
            pipe.breaks_after -= len(data)
        pipe.add(data)
        if pipe.breaks_after == 0:
            self.link.cut(self.link.breaks)

    async def wait_send_all_might_not_block(self) -> None:
        """Return when there is room, or nobody receives any more."""
        await trio.lowlevel.checkpoint()
        pipe = self._out
        while len(pipe.held) >= pipe.room and not (pipe.deaf or self._closed):
            await pipe.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what has arrived; empty at the end.

        Raises `trio.BrokenResourceError` on a link that was reset.
        """
        await trio.lowlevel.checkpoint()
        pipe = self._into
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this end was closed")
            if pipe.reset:
                raise trio.BrokenResourceError("the link was reset")
            if not pipe.stalled:
                if data := pipe.take(max_bytes or pipe.piece):
                    return data
                if pipe.finished and not pipe.held:
                    return b""
            await pipe.wait()

    async def send_eof(self) -> None:
        """Send nothing more; what was sent still arrives."""
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this end was closed")
        self._out.finished = True
        self._out.stir()

    async def aclose(self) -> None:
        """Close this end; what was sent still arrives."""
        if not self._closed:
            self._closed = True
            self._out.finished = self._into.deaf = True
            self._out.stir()
            self._into.stir()
            if self.is_server:
                self.link.server_left()
            else:
                self.link.ended()
        await trio.lowlevel.checkpoint()
