"""Runs: a set of seqs as ranges; and what own ops cost a client that never iterates."""

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._rules.behaviour import LogBehaviour
from squire_gatherings._rules.change_queue import ChangeQueue, Missing
from squire_gatherings._rules.replica import Replica
from squire_gatherings._rules.runs import Runs
from squire_gatherings._values.op import Op

OP = Op.of({"n": 1})


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 40), st.integers(0, 5)),
            st.tuples(st.just("drop"), st.integers(0, 45), st.just(0)),
        )
    )
)
def test_runs_hold_what_a_set_holds(steps: list[tuple[str, int, int]]) -> None:
    runs, model = Runs(), set[int]()
    gone = 0
    for what, seq, count in steps:
        if what == "add":
            runs.add(range(seq, seq + count))
            model |= set(range(seq, seq + count))
        else:
            runs.drop_to(seq)
            gone = max(gone, seq)
        # A dropped seq may still be there, as part of a longer run, and may come back.
        assert all((seq in runs) == (seq in model) for seq in range(gone + 1, 50))
        assert {seq for run in runs for seq in run} <= model
        kept = list(runs)
        assert all(a.stop < b.start for a, b in pairwise(kept))
        assert len(runs) == len(kept)
        assert bool(runs) is bool(kept)


def test_a_long_run_costs_no_more_than_a_short_one() -> None:
    runs = Runs()
    for seq in range(1, 100_001):
        runs.add(range(seq, seq + 1))
    assert list(runs) == [range(1, 100_001)]


def test_dropping_one_after_the_other_is_cheap() -> None:
    runs = Runs()
    for seq in range(1, 200_001, 2):
        runs.add(range(seq, seq + 1))
    for seq in range(1, 200_001):
        runs.drop_to(seq)
        assert not runs or 199_999 in runs
    assert not runs


def test_a_client_that_only_submits_costs_no_memory_per_op() -> None:
    """A program submits twenty thousand ops without iterating, and then iterates."""
    replica = Replica(ChangeQueue(10**6), LogBehaviour)
    replica.changes.begin(0, 0)
    for seq in range(1, 101):
        replica.submit(f"s{seq}", (OP,))
        replica.synced(f"s{seq}", (seq,))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for seq in range(101, 20_001):
            replica.submit(f"s{seq}", (OP,))
            replica.synced(f"s{seq}", (seq,))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 10_000
    assert replica.changes.take() is None
    assert replica.changes.position == 20_000


def test_a_hundred_thousand_in_flight_and_answered_take_no_quadratic_time() -> None:
    """If each looked at all others, that would take 10 to the 10th steps: far too long."""
    replica = Replica(ChangeQueue(10**6), LogBehaviour)
    replica.changes.begin(0, 0)
    count = 100_000
    for number in range(count):
        replica.submit(f"s{number}", (OP,)).sent = True
    # All were sent, and the connection was lost; the server answers all but one.
    replica.lost()
    for number in range(1, count):
        replica.synced(f"s{number}", (number + 1,))
    assert replica.snapshot() == 0
    replica.arrived(1, (OP,) * 1, (None,))
    replica.synced("s0", (1,))
    for seq in range(2, count + 1, 1000):
        page = min(1000, count + 1 - seq)
        replica.arrived(seq, (OP,) * page, (None,) * page)
    assert replica.changes.take() is None
    assert replica.snapshot() == count


def test_iterating_late_among_others_takes_no_quadratic_time() -> None:
    """Every second op is the client's own, and most of the others must be fetched."""
    replica = Replica(ChangeQueue(100_000), LogBehaviour)
    changes = replica.changes
    changes.begin(0, 0)
    count = 100_000
    for seq in range(1, count + 1, 2):
        replica.submit(f"s{seq}", (OP,))
        replica.synced(f"s{seq}", (seq,))
        replica.arrived(seq + 1, (OP,), (None,))
    taken = 0
    while True:
        change = changes.take()
        if change is None:
            break
        if isinstance(change, Missing):
            page = min(1000, count - change.since)
            changes.refill(change.since + 1, (OP,) * page, (None,) * page)
        else:
            taken += 1
    assert taken == count // 2
    assert not changes._own


def test_small_ops_count_as_what_they_cost() -> None:
    changes = ChangeQueue(max_bytes=100_000)
    changes.begin(0, 0)
    for seq in range(1, 100_001):
        changes.add(seq, None, OP)
    assert len(changes._kept) <= 1000
