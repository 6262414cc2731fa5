"""The outbox: everything that a connection sends goes out through it.

Whole frames go in, in order, so that data, pong and close frames can't interleave. The frames of
one turn go out together. What the kernel doesn't take at once waits, bounded in bytes.
"""

import socket
from collections.abc import Callable

import trio
from attrs import define, field

from squire_gatherings._rules.budget import Budget
from squire_gatherings._wire.underway import Underway, nobody_knows

TryWrite = Callable[[bytes], int]
"""Writes without waiting; returns how many bytes it wrote. Raises `OSError`."""

TOGETHER = 64 * 1024
"""How many bytes of frames are put together at most."""

PIECE = 16 * 1024
"""What waits goes out in pieces of so many bytes, so that `progress` shows that it moves."""

FEW = 4 * 1024
"""Up to so many bytes under way count as none: hosts take their time to acknowledge the last
packet."""

TAKEN_BEFORE = 1 << 32
"""What another process is taken to have sent on a stream: more than is ever under way."""

_NOTHING = memoryview(b"")


def _do_nothing() -> None:
    """Stands in for the callbacks of a retired outbox."""


@define(eq=False)
class Flusher:
    """The task that flushes what the gatherings wrote, when all have had their turn.

    A client that is sent several frames in a turn gets them by one write. If each went out by
    itself, it would wake a client that has just fallen asleep, which costs more than all the rest.
    """

    holds: bool = False
    """Whether somebody calls `flush` before the next checkpoint, so that the task needn't."""
    _written: "list[Outbox]" = field(factory=list)
    _sleeper: trio.lowlevel.Task | None = None

    def flush_soon(self, outbox: "Outbox") -> None:
        """Flush this outbox when the tasks that run now have run, or at the next `flush`."""
        self._written.append(outbox)
        if self._sleeper is not None and not self.holds:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            while self._written:
                self.flush()
            self._sleeper = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_sleeping)

    def flush(self) -> None:
        """Flush what was written until now."""
        written, self._written = self._written, []
        for outbox in written:
            outbox.flush_now()

    def _stop_sleeping(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED


@define(eq=False)
class Outbox:
    """Outgoing frames of one stream.

    A frame that finds nothing waiting is taken whatever its size: a snapshot may be larger than
    any backlog.
    """

    stream: trio.abc.SendStream
    try_write: TryWrite | None
    """None where the stream can't write without waiting (TLS): then a task writes everything."""
    nursery: trio.Nursery
    """Has that task, which runs while something waits."""
    max_backlog: int
    """How many bytes may wait behind the first frame."""
    on_overflow: Callable[[], None]
    """Is called when more would have to wait."""
    on_broken: Callable[[], None]
    """Is called when the stream turns out to be broken."""
    flusher: Flusher | None = None
    """Without one, each frame goes out by itself."""
    underway: Underway = nobody_knows
    budget: Budget = field(factory=Budget)
    plain: socket.socket | None = None
    """The socket that the stream is, if `try_write` writes to one. Without it, what waits goes out
    by the stream's `send_all`, and nobody can tell how much of a piece has."""
    """Where what waits in all outboxes is counted."""
    backlog: int = 0
    """Bytes that the kernel didn't take."""
    taken: int = 0
    """Bytes that the kernel took, ever."""
    closed: bool = False
    _queue: list[bytes] = field(factory=list)
    _fresh: int = 0
    """Bytes in the queue that the kernel hasn't been offered. There are none behind a backlog."""
    _allowance: int = 0
    """What was written while nothing waited adds to the limit, until it's gone."""
    _starts_inside: bool = False
    """Whether the queue starts with the rest of a frame whose beginning has gone out."""
    _in_flight: memoryview = _NOTHING
    """What the task that drains hasn't sent yet of what it took from the queue."""
    _draining: bool = False
    _emptied: trio.Event | None = None
    _arrived: int = 0
    """How many bytes had arrived when that was asked last."""

    @property
    def progress(self) -> int:
        """How many bytes have reached the peer's host, as far as that can be told; only grows.

        What the kernel took shows nothing: it takes in several hundred KB, which a slow line
        carries for a minute.
        """
        if self._arrived != self.taken:
            self._arrived = max(self._arrived, self.taken - max(0, self.underway() - FEW))
        return self._arrived

    @property
    def in_transit(self) -> int:
        """How many bytes haven't reached the peer's host yet."""
        return self.backlog + self.taken - self.progress

    def write(self, frame: bytes) -> None:
        """Send a frame now, or queue it; call `on_overflow` if too much waits already."""
        if self._queue or self.backlog or self.closed or self.try_write is None:
            self._write_behind(frame)
            return
        # As `_try`, which would cost each frame of a fan-out a call.
        try:
            written = self.try_write(frame)
        except BlockingIOError:
            written = 0
        except OSError:
            self._break()
            return
        self.taken += written
        if written != len(frame):
            self._queue.append(frame)
            self._wait(len(frame), written)

    def _write_behind(self, frame: bytes) -> None:
        """As `write`, where something waits, or where nothing can go out at once."""
        if not self.closed and not self._must_wait(frame):
            self._queue.append(frame)
            self._fresh += len(frame)
            self.flush_now()

    def write_soon(self, frame: bytes) -> None:
        """As `write`, but together with what else is written in this turn."""
        if self.closed:
            return
        if self.flusher is None or self.backlog or self._fresh + len(frame) > TOGETHER:
            self.write(frame)
            return
        self._queue.append(frame)
        if not self._fresh:
            self.flusher.flush_soon(self)
        self._fresh += len(frame)

    def flush_now(self) -> None:
        """Offer the kernel what was written; what it doesn't take waits."""
        if not self._fresh:
            return
        whole, self._fresh = self._fresh, 0
        queue = self._queue
        written = self._try(queue[0] if len(queue) == 1 else b"".join(queue))
        if written == whole:
            queue.clear()
        elif not self.closed:
            self._wait(whole, written)

    def _try(self, data: bytes) -> int:
        """Write what goes out at once; return how many bytes. Closes if the stream is broken."""
        if self.try_write is None:
            return 0
        try:
            written = self.try_write(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0
        self.taken += written
        return written

    def _must_wait(self, frame: bytes) -> bool:
        """Queue a frame behind what waits, if anything does."""
        if not self.backlog:
            return False
        if self.backlog + len(frame) > self.max_backlog + self._allowance:
            self.on_overflow()
        else:
            self._queue.append(frame)
            self._start_draining()
            self._waits(self.backlog + len(frame))
        return True

    def _wait(self, whole: int, written: int) -> None:
        """Let the queue wait: `whole` bytes, of which `written` have gone out."""
        left = whole - written
        if written:
            self._drop(written)
        self._allowance = left if left > self.max_backlog else 0
        self._start_draining()
        self._waits(left)

    def _drop(self, written: int) -> None:
        """Drop so many bytes from the queue. The rest of a frame that has begun stays."""
        whole = 0
        while written >= len(self._queue[whole]):
            written -= len(self._queue[whole])
            whole += 1
        del self._queue[:whole]
        self._starts_inside = written > 0
        self._queue[0] = self._queue[0][written:]

    def _waits(self, backlog: int) -> None:
        """Note how many bytes wait now. May close connections, this one as well: comes last."""
        grown = backlog - self.backlog
        self.backlog = backlog
        self.budget.outbound += grown
        if grown > 0:
            self.budget.grown()

    def _start_draining(self) -> None:
        if not self._draining:
            self._draining = True
            self.nursery.start_soon(self._drain)

    def finish_with(self, frame: bytes) -> None:
        """Drop the whole frames that wait, and send `frame` as the last one."""
        if self.closed:
            return
        self.flush_now()
        kept = [self._queue[0]] if self._starts_inside and self._queue else []
        self._queue = [*kept, frame]
        self.closed = True
        self._start_draining()
        self._waits(len(self._in_flight) + sum(map(len, self._queue)))

    # Handing over.

    def unsent(self) -> bytes:
        """Return what hasn't gone out, for another process to send, which has the same socket."""
        return b"".join((self._in_flight, *self._queue))

    @property
    def is_empty(self) -> bool:
        """Whether all that was written has gone out."""
        return not (self._queue or self.backlog or self._in_flight)

    def wait_mute(self) -> None:
        """Send nothing before `take_over`: another process has the stream."""
        self.closed = True
        self.taken = TAKEN_BEFORE

    def take_over(self) -> None:
        """Go on for another process, which sends nothing any more."""
        self.closed = False

    def resume(self, unsent: bytes) -> None:
        """Send what another process hasn't sent."""
        if unsent:
            self._queue.append(unsent)
            # Where it began to be sent isn't known: none of it is ever left out.
            self._starts_inside = True
            self._wait(len(unsent), 0)

    async def flushed(self) -> None:
        """Return when nothing waits any more, since it was sent or given up.

        Cancellation: what waits goes on waiting.
        """
        self.flush_now()
        while self.backlog:
            if self._emptied is None:
                self._emptied = trio.Event()
            await self._emptied.wait()

    def discard(self) -> None:
        """Give up what waits, and send nothing more. A frame may be cut off in the middle."""
        self.closed = True
        self._queue.clear()
        self._fresh = 0
        self._waits(0)
        self._wake()

    def retire(self) -> None:
        """Give up what waits, for good, and forget the owner: a cycle would outlive both."""
        self.discard()
        self.on_overflow = self.on_broken = _do_nothing

    async def _drain(self) -> None:
        try:
            while self._queue:
                data = b"".join(self._queue)
                self._queue.clear()
                self._starts_inside = False
                self._in_flight = memoryview(data)
                while self._in_flight:
                    await self._send(self._in_flight[:PIECE])
                self._in_flight = _NOTHING
                self._allowance = 0
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self._break()
        finally:
            self._draining = False
        self._wake()

    async def _send(self, piece: memoryview) -> None:
        """Send some or all of a piece."""
        size = len(piece)
        if self.try_write is None or self.plain is None:
            await self.stream.send_all(piece)
        else:
            await trio.lowlevel.wait_writable(self.plain)
            try:
                size = self.try_write(bytes(piece))
            except BlockingIOError:
                return
        self._in_flight = self._in_flight[size:]
        self._went_out(size)

    def _went_out(self, size: int) -> None:
        self.taken += size
        self._allowance = max(0, self._allowance - size)
        self._waits(max(0, self.backlog - size))

    def _break(self) -> None:
        if not self.closed:
            self.discard()
            self.on_broken()

    def _wake(self) -> None:
        if self._emptied is not None and not self.backlog:
            self._emptied.set()
            self._emptied = None
