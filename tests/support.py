"""Helpers of many tests: a connection in memory, a slower store, and behaviours that refuse."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
import trio

from squire_gatherings._cli.logs import formatter
from squire_gatherings._hall.connection import Connection
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import OpConflict, OpRejected
from squire_gatherings._values.messages import Forward, ForwardBatch, ServerMessage
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings.testing import Calls, FailingStore

M = TypeVar("M", bound=ServerMessage)


class Recorder(Connection):
    """A connection that keeps each message, the time when it came, and how it was closed."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.received: list[tuple[float, ServerMessage]] = []
        self.closed: list[tuple[float, CloseCode, str]] = []
        self.aborted = False
        self.stuck = stuck
        self._arrival = trio.Event()

    def send(self, outgoing: Outgoing) -> None:
        if not self.closed:
            self.received.append((trio.current_time(), outgoing.message))
            self._arrival.set()

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closed:
            self.closed.append((trio.current_time(), code, reason))
            self._arrival.set()

    @property
    def backlog(self) -> int:
        return 1 if self.stuck and not self.aborted else 0

    async def flush(self) -> None:
        if self.stuck:
            await trio.sleep_forever()

    def abort(self) -> None:
        self.aborted = True

    async def wait_closed(self) -> None:
        while not self.closed:
            await self._wait()

    async def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        while len(self.of(kind)) < count:
            await self._wait()
        return self.of(kind)

    async def wait_until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            await self._wait()

    async def _wait(self) -> None:
        self._arrival = trio.Event()
        await self._arrival.wait()

    def of(self, kind: type[M]) -> list[M]:
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


def slow_store(
    which: Calls = "append", seconds: float = 1.0, nursery: trio.Nursery | None = None
) -> FailingStore:
    """Return a store in which these calls take so long.

    With a `nursery` it calls back when an append has ended; otherwise the caller waits for it.
    """
    store = FailingStore(MemoryStore(), nursery)
    store.trouble(which, "slow", seconds=seconds)
    return store


class Sum:
    """A behaviour with a state: the sum of `add`, which may not become negative."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.total = 0
        self.folded = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        total = self.total
        for op in ops:
            total += op.value["add"]
            if total < 0:
                raise OpRejected("the sum would be negative")
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.total += op.value["add"]
        self.folded += 1

    def snapshot(self) -> Any:
        return {"total": self.total}

    def restore(self, snapshot: Any) -> None:
        self.total = snapshot["total"]


class Stamped(Sum):
    """A behaviour whose state shows every stamp."""

    def __init__(self) -> None:
        super().__init__()
        self.stamps: list[list[Any]] = []

    def fold(self, op: Op, stamp: Stamp) -> None:
        super().fold(op, stamp)
        self.stamps.append([stamp.seq, stamp.time, stamp.by])

    def snapshot(self) -> Any:
        return {"total": self.total, "stamps": self.stamps}

    def restore(self, snapshot: Any) -> None:
        super().restore(snapshot)
        self.stamps = list(snapshot["stamps"])


class Strict(Sum):
    """A behaviour that merges nothing: an old base is a conflict."""

    serves_snapshots = False

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        if submission.is_stale:
            raise OpConflict("the base is old")
        return ops


class Fragile(Sum):
    """A behaviour that raises when it is told to."""

    serves_snapshots = False

    def fold(self, op: Op, stamp: Stamp) -> None:
        if "boom" in op.value:
            raise ZeroDivisionError("boom")

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops


def examples(number: int, *, long: int | None = None) -> int:
    """Return how many random examples a test tries.

    `make test-long` multiplies the number, or rather `long`, if that's given: a test that takes
    much of the time of `make test` tries few there, and as many as others at night.
    """
    times = float(os.environ.get("TEST_EXAMPLES_TIMES", "1"))
    return int((number if long is None or times == 1 else long) * times)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return the lines that a server would have written, with all their fields."""
    return "\n".join(map(formatter("text").format, caplog.records))
