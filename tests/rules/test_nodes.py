"""The rules of nodes: leases, silence, how far a clock is ahead, and where gatherings go."""

import math
from collections import Counter
from random import Random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.clock_offset import DRIFT, ClockOffset
from squire_gatherings._rules.lease import Lease
from squire_gatherings._rules.placement import FEW, place, to_give
from squire_gatherings._rules.silence import Silences
from squire_gatherings._values.nodes import Node, NodeState
from tests.support import examples

GAPS = st.lists(st.tuples(st.floats(0.0, 10.0), st.booleans()), max_size=30)


@settings(max_examples=examples(100))
@given(GAPS)
def test_nobody_is_silent_while_its_lease_lasts(gaps: list[tuple[float, bool]]) -> None:
    """A node beats or doesn't, and another one looks, each by a clock of its own."""
    lease, silences = Lease(5.0, 0.5), Silences()
    now, beats = 100.0, 0
    lease.beaten(now)
    silences.saw("a", beats, now + 1e6)
    for gap, is_beat in gaps:
        now += gap
        if is_beat and not lease.is_lost:
            lease.beaten(now)
            beats += 1
        silences.saw("a", beats, now + 1e6)
        if silences.seconds("a", beats, now + 1e6) >= lease.duration:
            assert not lease.is_valid(now)


def test_a_lease_that_was_lost_never_comes_back() -> None:
    lease = Lease(5.0, 0.5)
    assert not lease.is_valid(0.0)
    lease.beaten(1.0)
    assert (lease.is_valid(5.4), lease.is_valid(5.5)) == (True, False)
    # An earlier beat that is heard of later takes nothing away.
    lease.beaten(0.5)
    assert lease.is_valid(5.4)
    lease.lost()
    lease.beaten(6.0)
    assert lease.is_lost
    assert not lease.is_valid(6.0)


def test_who_has_gone_is_forgotten() -> None:
    silences = Silences()
    silences.saw("a", 1, 0.0)
    silences.saw("b", 1, 0.0)
    silences.keep(["b"])
    assert silences.seconds("a", 1, 9.0) == 0.0
    assert silences.seconds("b", 1, 9.0) == 9.0
    assert silences.seconds("b", 2, 9.0) == 0.0


@settings(max_examples=examples(100))
@given(
    st.floats(-1e6, 1e6),
    st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)), min_size=1, max_size=20),
)
def test_an_offset_is_as_close_as_the_quickest_answer(
    ahead: float, ways: list[tuple[float, float]]
) -> None:
    offset, now = ClockOffset(), 50.0
    quickest = math.inf
    for there, back in ways:
        asked_at, now = now, now + there + back
        offset.heard(asked_at, now, asked_at + there + ahead)
        quickest = min(quickest, there + back)
        # Meanwhile the clocks may drift apart.
        assert abs(offset.seconds - ahead) <= quickest / 2 + (now - 50.0) * DRIFT + 1e-6
        now += 1.0


def test_a_clock_that_is_set_is_followed() -> None:
    offset = ClockOffset()
    offset.heard(1.0, 1.2, 1001.1)
    assert abs(offset.seconds - 1000.0) < 0.101
    offset.heard(2.0, 2.2, 5002.1)
    assert abs(offset.seconds - 5000.0) < 0.101


def nodes(*loads: int) -> list[Node]:
    """Return nodes with so many gatherings."""
    return [
        Node(id=f"n{number}", name=f"n{number}", gatherings=load)
        for number, load in enumerate(loads)
    ]


@settings(max_examples=examples(100))
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.text(min_size=1), st.randoms())
def test_all_choose_the_same_node(loads: list[int], gathering: str, order: Random) -> None:
    some = nodes(*loads)
    chosen = place(gathering, some)
    assert chosen is not None
    shuffled = list(some)
    order.shuffle(shuffled)
    assert place(gathering, shuffled) == chosen
    rest = [one for one in some if one is not chosen]
    allowed: list[Node | None] = [*rest] if rest else [None]
    # One that takes none, or is gone, is never chosen.
    drains = evolve(chosen, state=NodeState.DRAINING)
    assert place(gathering, [*rest, drains]) in allowed
    left = evolve(chosen, beat_age=math.inf)
    assert place(gathering, [*rest, left]) in allowed


def test_who_has_little_is_given_more() -> None:
    counts = Counter(
        chosen.id
        for number in range(2000)
        if (chosen := place(f"g{number}", nodes(100, 100, 1000))) is not None
    )
    assert counts["n2"] < 0.2 * counts["n0"]
    alike = Counter(
        chosen.id
        for number in range(2000)
        if (chosen := place(f"g{number}", nodes(7, 7, 7))) is not None
    )
    assert min(alike.values()) > 550


@settings(max_examples=examples(50))
@given(st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_balance_comes_to_rest(loads: list[int]) -> None:
    """Whoever has too much gives one to another, until nobody has."""
    for _ in range(sum(loads) + 1):
        some = nodes(*loads)
        gifts = [(one, to) for one in some if (to := to_give(one, some)) is not None]
        if not gifts:
            break
        giver, to = gifts[0]
        assert loads[some.index(giver)] - loads[some.index(to)] > FEW
        loads[some.index(giver)] -= 1
        loads[some.index(to)] += 1
    else:
        raise AssertionError(loads)
