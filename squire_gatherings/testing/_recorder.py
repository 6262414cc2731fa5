"""The recorder: a connection in memory that keeps what a hall says to its client."""

from collections.abc import Callable
from typing import Any, TypeVar

import trio

from squire_gatherings._hall.connection import Connection
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Forward, ForwardBatch, ServerMessage
from squire_gatherings._values.outgoing import Outgoing

M = TypeVar("M", bound=ServerMessage)


class Recorder(Connection):
    """A `Connection` that keeps each message, the time when it came, and how it was closed.

    Give one to `Hall.join`, to see what the hall says to a client, without a network. It
    acknowledges nothing by itself. The times are Trio's, in seconds.
    """

    def __init__(self, *, stuck: bool = False) -> None:
        """Make one; one that is `stuck` never sends what it has taken."""
        self.received: list[tuple[float, ServerMessage]] = []
        self.closed: list[tuple[float, CloseCode, str]] = []
        self.aborted = False
        self.stuck = stuck
        self._arrival = trio.Event()

    def send(self, outgoing: Outgoing) -> None:
        """Keep a message."""
        if not self.closed:
            self.received.append((trio.current_time(), outgoing.message))
            self._arrival.set()

    def close(self, code: CloseCode, reason: str) -> None:
        """Note that it is closed."""
        if not self.closed:
            self.closed.append((trio.current_time(), code, reason))
            self._arrival.set()

    @property
    def backlog(self) -> int:
        """One byte, as long as it is stuck."""
        return 1 if self.stuck and not self.aborted else 0

    async def flush(self) -> None:
        """Return, unless it is stuck. Cancellation: nothing changes."""
        if self.stuck:
            await trio.sleep_forever()

    def abort(self) -> None:
        """Note that it was dropped."""
        self.aborted = True

    async def wait_closed(self) -> None:
        """Return once it is closed. Cancellation: nothing changes."""
        while not self.closed:
            await self._wait()

    async def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        """Return all messages of a class, once there are so many. Cancellation: nothing changes."""
        while len(self.of(kind)) < count:
            await self._wait()
        return self.of(kind)

    async def wait_until(self, is_there: Callable[[], bool]) -> None:
        """Return once something is so; look at each message. Cancellation: nothing changes."""
        while not is_there():
            await self._wait()

    async def _wait(self) -> None:
        self._arrival = trio.Event()
        await self._arrival.wait()

    def of(self, kind: type[M]) -> list[M]:
        """Return all messages of a class."""
        return [message for _, message in self.received if isinstance(message, kind)]

    def forwards(self) -> list[tuple[float, int, str | None, dict[str, Any]]]:
        """Return every forwarded op: when it came, its seq, its author, and the op."""
        found: list[tuple[float, int, str | None, dict[str, Any]]] = []
        for at, message in self.received:
            if isinstance(message, Forward):
                found.append((at, message.seq, message.by, message.op.value))
            elif isinstance(message, ForwardBatch):
                for index, (by, op) in enumerate(zip(message.by, message.ops, strict=True)):
                    found.append((at, message.seq + index, by, op.value))
        return found
