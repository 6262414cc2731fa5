"""Helpers of many tests: a connection in memory, slow stores, and behaviours that refuse."""

import os
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from squire_gatherings._cli.logs import formatter
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import OpConflict, OpRejected
from squire_gatherings._values.op import Op
from squire_gatherings.testing import Calls, FailingStore
from squire_gatherings.testing import Recorder as Recorder


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
