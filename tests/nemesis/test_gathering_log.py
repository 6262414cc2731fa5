"""What a log may do: the search and the pass agree, on right histories and wrong ones."""

import math
import random
from contextlib import suppress

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nemesis import linearizability, log_order
from tests.nemesis.gathering_log import GatheringLog
from tests.nemesis.history import Append, End, Operation, Read, Sight, resolve
from tests.support import examples


def fits(history: list[Operation]) -> bool:
    """Ask both checkers, which must agree."""
    verdict = linearizability.check(history, GatheringLog(), steps=200_000)
    with suppress(log_order.Contradiction):
        log_order.check(history)
        assert verdict.is_linearizable, verdict
        return True
    assert not verdict.is_linearizable, verdict
    return False


def append(
    invoked: float, returned: float, op: str, first: int | None, incarnation: str | None = "i"
) -> Append:
    return Append(
        client="a",
        invoked=invoked,
        returned=returned,
        ops=tuple(op.split("+")),
        first=first,
        incarnation=incarnation,
    )


def unanswered(invoked: float, op: str) -> Append:
    return append(invoked, math.inf, op, None, None)


def read(invoked: float, returned: float, ops: str, incarnation: str = "i") -> Read:
    """All of the log."""
    shown = tuple(ops.split())
    return Read(
        client="r",
        invoked=invoked,
        returned=returned,
        seq=len(shown),
        first=1,
        ops=shown,
        incarnation=incarnation,
    )


def sight(at: float, first: int, ops: str) -> Sight:
    return Sight(client="s", at=at, first=first, ops=tuple(ops.split()))


def end(invoked: float, returned: float, seq: int, incarnation: str = "i") -> End:
    return End(client="e", invoked=invoked, returned=returned, seq=seq, incarnation=incarnation)


RIGHT: dict[str, list[Operation]] = {
    "nothing": [read(0, 1, "")],
    "one after the other": [append(0, 1, "x", 1), append(2, 3, "y", 2), read(4, 5, "x y")],
    "shown before it was acknowledged": [
        append(0, 9, "x", 1),
        sight(1, 1, "x"),
        read(2, 3, "x"),
    ],
    "unanswered, and done": [unanswered(0, "x"), append(1, 2, "y", 2), read(3, 4, "x y")],
    "unanswered, and not done": [unanswered(0, "x"), append(1, 2, "y", 1), read(3, 4, "y")],
    "done long after its connection was lost": [
        unanswered(0, "x"),
        read(1, 2, ""),
        read(3, 4, "x"),
    ],
    "several ops at once": [append(0, 5, "x+y", 1), read(1, 2, ""), read(3, 4, "x y")],
    "a forward of a part of a sync": [append(0, 5, "x+y", 1), sight(1, 1, "x"), read(6, 7, "x y")],
    "a life after another": [
        append(0, 1, "x", 1, "i"),
        end(1, 2, 1, "i"),
        append(2, 3, "y", 2, "j"),
        read(4, 5, "x y", "j"),
    ],
    "lives of which little is known": [
        read(0, 9, "", "i"),
        read(3, 7, "", "j"),
        end(0, 6, 0, "j"),
        read(5, 9, "", "k"),
    ],
    "an end that is told late": [
        append(0, 1, "x", 1, "i"),
        read(2, 3, "x", "j"),
        end(0, 4, 1, "i"),
    ],
}

WRONG: dict[str, list[Operation]] = {
    "lost": [append(0, 1, "x", 1), read(2, 3, "")],
    "lost, and its seq given again": [append(0, 1, "x", 1), append(2, 3, "y", 1), read(4, 5, "y")],
    "doubled": [append(0, 1, "x", 1), append(2, 3, "y", 2), read(4, 5, "x y x")],
    "made up": [append(0, 1, "x", 1), read(2, 3, "x y")],
    "out of order": [append(0, 1, "x", 2), append(2, 3, "y", 1), read(4, 5, "y x")],
    "a read from the past": [append(0, 1, "x", 1), read(2, 3, ""), read(4, 5, "x")],
    "a forward, and then a read from before": [
        append(0, 9, "x", 1),
        sight(1, 1, "x"),
        read(2, 3, ""),
        read(10, 11, "x"),
    ],
    "a read, and then one from before": [
        append(0, 9, "x", 1),
        read(1, 2, "x"),
        read(3, 4, ""),
        read(10, 11, "x"),
    ],
    "shown before it was asked for": [append(3, 4, "x", 1), sight(2, 1, "x"), read(5, 6, "x")],
    "different to two": [
        append(0, 5, "x", 1),
        unanswered(0, "y"),
        read(6, 7, "x"),
        sight(8, 1, "y"),
    ],
    "a part of a sync": [append(0, 5, "x+y", 1), read(1, 2, "x"), read(6, 7, "x y")],
    "two lives at once": [
        append(0, 1, "w", 1, "i"),
        append(2, 3, "x", 2, "j"),
        append(4, 5, "y", 3, "i"),
        read(6, 7, "w x y", "i"),
    ],
    "two lives that are read at once": [
        read(0, 1, "", "i"),
        read(2, 3, "", "j"),
        read(4, 5, "", "i"),
    ],
    "three lives in a circle": [
        *(read(0, 1, "", "i"), read(4, 5, "", "i")),
        *(read(2, 3, "", "j"), read(6, 7, "", "j")),
        read(2, 5, "", "k"),
    ],
    "a life after its end": [append(0, 1, "x", 1), end(1, 2, 1), read(3, 4, "x")],
    "an end without what was acknowledged": [
        append(0, 1, "x", 1),
        end(2, 3, 0),
        read(4, 5, "x", "j"),
    ],
    "an acknowledgement after the end": [
        append(0, 1, "x", 1),
        append(4, 5, "y", 2),
        end(1, 3, 1),
        read(6, 7, "x y", "j"),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories(name: str) -> None:
    assert fits(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories(name: str) -> None:
    assert not fits(WRONG[name])


@st.composite
def right_histories(draw: st.DrawFn) -> list[Operation]:
    """What a log did, one thing at a time, each with an interval around its instant."""
    ops: list[str] = []
    history: list[Operation] = []
    life = 0
    for now in range(draw(st.integers(1, 7))):
        around = {"invoked": now - draw(st.floats(0, 3)), "returned": now + draw(st.floats(0, 3))}
        kind = draw(st.sampled_from(("append", "append", "read", "sight", "end", "lost", "follow")))
        incarnation = f"life {life}"
        if kind in ("append", "lost"):
            new = tuple(f"{now}.{n}" for n in range(draw(st.integers(1, 2))))
            one = Append(client="a", ops=new, first=len(ops) + 1, incarnation=incarnation, **around)
            ops += new
            if kind == "lost":
                one = evolve(one, first=None, incarnation=None, returned=math.inf)
            history.append(one)
        elif kind == "read":
            first = draw(st.integers(1, len(ops) + 1))
            history.append(
                Read(
                    client="r",
                    seq=len(ops),
                    first=first,
                    ops=tuple(ops[first - 1 :]),
                    incarnation=incarnation,
                    **around,
                )
            )
        elif kind == "sight" and ops:
            first = draw(st.integers(1, len(ops)))
            shown = tuple(ops[first - 1 :])
            history.append(Sight(client="s", at=around["returned"], first=first, ops=shown))
        elif kind == "end":
            history.append(End(client="e", seq=len(ops), incarnation=incarnation, **around))
            life += 1
        elif kind == "follow":
            life += 1
    history.append(
        Read(
            client="r",
            invoked=20,
            returned=21,
            seq=len(ops),
            first=1,
            ops=tuple(ops),
            incarnation="last",
        )
    )
    return history


@settings(max_examples=examples(100), deadline=None)
@given(right_histories())
def test_what_a_log_did_fits(history: list[Operation]) -> None:
    assert fits(history)


@settings(max_examples=examples(300), deadline=None)
@given(right_histories(), st.data())
def test_both_find_the_same_wrong(history: list[Operation], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(history) - 1))
    one = history[at]
    moved = data.draw(st.floats(-6, 6))
    if isinstance(one, Sight):
        history[at] = evolve(one, at=one.at + moved)
    elif data.draw(st.booleans()):
        history[at] = evolve(one, invoked=one.invoked + moved, returned=one.returned + moved)
    elif isinstance(one, Append):
        if one.first is not None:
            other = data.draw(st.sampled_from((-1, 1)))
            history[at] = evolve(one, first=max(1, one.first + other))
    elif data.draw(st.booleans()):
        life = data.draw(st.integers(0, 3))
        history[at] = evolve(one, incarnation=f"life {life}")
    else:
        history[at] = evolve(one, seq=max(0, one.seq + data.draw(st.sampled_from((-1, 1)))))
    fits(history)


def long_history(size: int, seed: int) -> list[Operation]:
    """Eight clients, each with an operation under way at any time; some were never answered."""
    choose = random.Random(seed)
    ops: list[str] = []
    history: list[Operation] = []
    for now in range(size):
        around = {"invoked": now - choose.random() * 8, "returned": now + choose.random() * 8}
        incarnation = f"life {now // 100}"
        if choose.random() < 0.5:
            new = (f"op{now}",)
            one = Append(client="a", ops=new, first=len(ops) + 1, incarnation=incarnation, **around)
            ops += new
            if choose.random() < 0.05:
                one = evolve(one, first=None, incarnation=None, returned=math.inf)
            history.append(one)
            history += [Sight(client="s", at=now + choose.random(), first=len(ops), ops=new)] * 3
        else:
            first = max(1, len(ops) - 3)
            shown = tuple(ops[first - 1 :])
            history.append(
                Read(
                    client="r",
                    seq=len(ops),
                    first=first,
                    ops=shown,
                    incarnation=incarnation,
                    **around,
                )
            )
        if now % 100 == 99:
            history.append(End(client="e", seq=len(ops), incarnation=incarnation, **around))
    whole = read(size + 10, size + 11, " ".join(ops), "last")
    return resolve([*history, whole])


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_operations_at_once(seed: int) -> None:
    history = long_history(400, seed)
    assert fits(history)
    place = len(history) // 2
    late = next(one for one in history[place:] if isinstance(one, Read))
    # As a node does that goes on showing what it had.
    history[history.index(late)] = evolve(
        late, invoked=late.invoked + 30, returned=late.returned + 30
    )
    assert not fits(history)
