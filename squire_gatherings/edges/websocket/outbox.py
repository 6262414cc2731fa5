"""The outbox: the one place through which everything that a connection sends goes out.

Whole frames go in, in order, so that data, pong and close frames can't interleave. What
the kernel takes at once costs no task switch; the rest waits, bounded in bytes.
"""

from collections import deque
from collections.abc import Callable

import trio
from attrs import define, field

TryWrite = Callable[[bytes], int]
"""Write without waiting; returns how many bytes went. Raises `OSError`."""


def _nobody_minds() -> None:
    """What a retired outbox does about anything."""


@define(eq=False)
class Outbox:
    """Outgoing frames of one stream.

    A frame that finds nothing waiting is taken whatever its size (a snapshot may be
    larger than any backlog); `max_backlog` bounds what waits behind it.
    `try_write` is None where a stream can't write without waiting (TLS): all goes through
    the drain task then, which runs in `nursery` while there's something to drain.
    """

    stream: trio.abc.SendStream
    try_write: TryWrite | None
    nursery: trio.Nursery
    max_backlog: int
    on_overflow: Callable[[], None]
    on_broken: Callable[[], None]
    backlog: int = 0
    """Bytes that wait in this process."""
    closed: bool = False
    _queue: deque[bytes] = field(factory=deque)
    _allowance: int = 0
    """What the frame that found nothing waiting adds to the limit, until it's gone."""
    _starts_inside: bool = False
    """Whether the queue starts with the rest of a frame whose beginning has gone out."""
    _in_flight: int = 0
    _draining: bool = False
    _emptied: trio.Event | None = None

    def write(self, frame: bytes) -> None:
        """Send a frame now, or queue it. Past `max_backlog` calls `on_overflow` instead."""
        if self.closed:
            return
        if self.backlog:
            if self.backlog + len(frame) > self.max_backlog + self._allowance:
                self.on_overflow()
                return
        else:
            if self.try_write is not None:
                try:
                    written = self.try_write(frame)
                except BlockingIOError:
                    written = 0
                except OSError:
                    self._break()
                    return
                if written == len(frame):
                    return
                frame = frame[written:]
                self._starts_inside = written > 0
            self._allowance = len(frame) if len(frame) > self.max_backlog else 0
        self._enqueue(frame)

    def _enqueue(self, frame: bytes) -> None:
        self._queue.append(frame)
        self.backlog += len(frame)
        if not self._draining:
            self._draining = True
            self.nursery.start_soon(self._drain)

    def finish_with(self, frame: bytes) -> None:
        """Drop the whole frames that wait, and send `frame` as the last one."""
        kept = [self._queue[0]] if self._starts_inside and self._queue else []
        self._queue.clear()
        self._queue.extend(kept)
        self.backlog = self._in_flight + sum(map(len, kept))
        if self.backlog:
            self._enqueue(frame)
        else:
            self.write(frame)
        self.closed = True

    async def flushed(self) -> None:
        """Return when nothing waits any more, sent or given up."""
        while self.backlog:
            if self._emptied is None:
                self._emptied = trio.Event()
            await self._emptied.wait()

    def discard(self) -> None:
        """Give up what waits; nothing more goes out. Frames may be cut off in the middle."""
        self.closed = True
        self._queue.clear()
        self.backlog = 0
        self._wake()

    def retire(self) -> None:
        """Give up what waits, for good, and forget the owner: a cycle would outlive both."""
        self.discard()
        self.on_overflow = self.on_broken = _nobody_minds

    async def _drain(self) -> None:
        try:
            while self._queue:
                data = b"".join(self._queue)
                self._queue.clear()
                self._starts_inside = False
                self._in_flight = len(data)
                await self.stream.send_all(data)
                self._in_flight = self._allowance = 0
                self.backlog = max(0, self.backlog - len(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._break()
        finally:
            self._draining = False
        self._wake()

    def _break(self) -> None:
        if not self.closed:
            self.discard()
            self.on_broken()

    def _wake(self) -> None:
        if self._emptied is not None and not self.backlog:
            self._emptied.set()
            self._emptied = None
