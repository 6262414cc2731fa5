"""Ops of a sync that are judged one by one, each on top of those before it."""

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import (
    JudgesOneByOne,
    Op,
    OpRejected,
    Stamp,
    Submission,
    open_hall,
)
from squire_gatherings._values.identity import Identity

ROOM = "friday-night"


class Seats(JudgesOneByOne):
    """Three seats; who sits may stand up."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.seated: list[str] = []

    def judge_op(self, op: Op, submission: Submission) -> Op:
        name, sits = op.value["name"], op.value["sits"]
        if sits and (len(self.seated) == 3 or name in self.seated):
            raise OpRejected("no seat")
        if not sits and name not in self.seated:
            raise OpRejected("not seated")
        return Op.of({**op.value, "free": 3 - len(self.seated)}) if sits else op

    def fold(self, op: Op, stamp: Stamp) -> None:
        if op.value["sits"]:
            self.seated.append(op.value["name"])
        else:
            self.seated.remove(op.value["name"])

    def snapshot(self) -> Any:
        return self.seated

    def restore(self, snapshot: Any) -> None:
        self.seated = snapshot


def op(name: str, *, sits: bool = True) -> Op:
    return Op.of({"name": name, "sits": sits})


def test_each_is_judged_on_top_of_those_before_it() -> None:
    seats = Seats()
    ops = (op("a"), op("b"), op("a", sits=False), op("a"))
    found = seats.judge(ops, Submission(Identity("olga"), 7, 7, 5))
    assert [one.value.get("free") for one in found] == [3, 2, None, 2]
    assert seats.seated == []
    with pytest.raises(OpRejected, match="no seat"):
        seats.judge((op("a"), op("a")), Submission(Identity("olga"), 7, 7))
    assert seats.seated == []


def test_what_it_is_told_of_each() -> None:
    class Notes(Seats):
        told: list[tuple[int, int, bool]] = []  # noqa: RUF012 (copies share it)

        def judge_op(self, op: Op, submission: Submission) -> Op:
            self.told.append((submission.base, submission.seq, submission.is_stale))
            return op

    notes = Notes()
    ops = (op("a"), op("b"))
    assert notes.judge(ops, Submission(Identity(None), 7, 7)) is ops
    # Its own ops are nothing that it lacks.
    assert notes.told == [(7, 7, False), (8, 8, False)]
    notes.told.clear()
    notes.judge(ops, Submission(Identity(None), 5, 7))
    assert notes.told == [(5, 7, True), (5, 8, True)]
    assert notes.judge(ops[:1], Submission(Identity(None), 5, 7)) == ops[:1]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=6))
def test_together_is_as_one_after_the_other(plan: list[tuple[str, bool]]) -> None:
    ops = tuple(op(name, sits=sits) for name, sits in plan)
    alone, together = Seats(), Seats()
    expected: list[Op] | None = []
    for number, one in enumerate(ops):
        try:
            [found] = alone.judge((one,), Submission(Identity("o"), number, number, 9))
        except OpRejected:
            expected = None
            break
        alone.fold(found, Stamp(number + 1, 9, "o"))
        expected.append(found)  # type: ignore[union-attr]
    try:
        judged: list[Op] | None = list(together.judge(ops, Submission(Identity("o"), 0, 0, 9)))
    except OpRejected:
        judged = None
    assert judged == expected
    assert together.seated == []


async def test_in_a_hall(autojump_clock: MockClock) -> None:
    async with open_hall(behaviour=Seats) as hall:
        values = [one.value for one in (op("a"), op("b"), op("c"))]
        assert await hall.submit(ROOM, values) == (1, 2, 3)
        with pytest.raises(OpRejected, match="no seat"):
            await hall.submit(ROOM, [op("a", sits=False).value, op("d").value, op("e").value])
        page = await hall.fetch(ROOM, since=0)
        assert [one.value["free"] for one in page.ops] == [3, 2, 1]
        assert trio.current_time() == 0
