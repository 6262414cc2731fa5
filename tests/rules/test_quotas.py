"""Quotas: places, refusals, and the budget of memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._rules.budget import CONNECTION_COST, GATHERING_COST, Budget
from squire_gatherings._rules.places import Places, is_full
from squire_gatherings._rules.rate_limit import Allowance, RateLimit, Spent
from squire_gatherings._rules.refusals import PAUSE, Limit, Refusals
from tests.support import examples


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=30), st.randoms())
@settings(max_examples=examples(50))
def test_places_are_as_many_as_were_taken(names: list[str | None], random: object) -> None:
    places = Places()
    for name in names:
        places.take(name)
    assert places.total == len(names)
    for name in ("a", "b"):
        assert places.of(name) == names.count(name)
    assert places.of(None) == 0
    random.shuffle(names)  # type: ignore[attr-defined]
    for name in names:
        places.leave(name)
    assert places == places
    assert (places.total, places.of("a"), places.of("b")) == (0, 0, 0)


def test_full() -> None:
    assert not is_full(10**9, None)
    assert [is_full(taken, 2) for taken in range(4)] == [False, False, True, True]


def test_a_limit_is_logged_at_once_and_then_after_a_pause() -> None:
    refusals = Refusals()
    assert refusals.count(Limit.MEMORY, 0.0) == 1
    assert [refusals.count(Limit.MEMORY, 1.0) for _ in range(3)] == [0, 0, 0]
    assert refusals.count(Limit.BACKLOG, 1.0) == 1
    assert refusals.count(Limit.MEMORY, PAUSE) == 4
    assert refusals.counts == {Limit.MEMORY: 5, Limit.BACKLOG: 1}


def test_each_step_of_the_budget() -> None:
    asked = 0

    def relieve() -> None:
        nonlocal asked
        asked += 1

    budget = Budget(1000 * CONNECTION_COST, relieve=relieve)
    for share, connections, gatherings, over in (
        (0.79, True, True, False),
        (0.8, False, True, False),
        (0.9, False, False, False),
        (1.0, False, False, False),
        (1.01, False, False, True),
    ):
        budget.outbound = int(1000 * CONNECTION_COST * share)
        assert budget.takes_connections is connections
        assert budget.opens_gatherings is gatherings
        assert (budget.excess > 0) is over
        asked = 0
        budget.grown()
        assert asked == over
    # The freed memory is enough for a while.
    budget.outbound -= budget.excess
    assert budget.excess == 0
    budget.outbound += 49 * CONNECTION_COST
    assert budget.excess == 0


def never() -> None:
    raise AssertionError("nothing is to be freed")


def test_without_limits_nothing_is_asked() -> None:
    budget = Budget(relieve=never)
    budget.outbound = 10**12
    budget.grown()
    assert budget.takes_connections
    assert budget.opens_gatherings


def test_what_waits_for_slow_readers_has_a_limit_of_its_own() -> None:
    budget = Budget(None, 1000)
    budget.outbound = 1000
    assert budget.excess == 0
    budget.outbound = 1100
    assert budget.excess == 150


def test_all_is_counted() -> None:
    budget = Budget(outbound=1, parsers=2, inboxes=3, tails=4, connections=5, gatherings=6)
    assert budget.used == 10 + 5 * CONNECTION_COST + 6 * GATHERING_COST


def test_an_allowance_of_bytes_and_ops() -> None:
    allowance = Allowance(None, RateLimit(10, 100), RateLimit(1, 5))
    assert allowance.spent(100, 0.0) is None
    assert allowance.spent(1, 0.0) is Spent.BYTES
    assert allowance.spent(10, 1.0) is None
    assert allowance.spent_on_ops(5, 1.0) is None
    assert allowance.spent_on_ops(1, 1.5) is Spent.OPS
    assert allowance.refused == 1
    # A burst over the limit is allowed if nothing is used up, and paid off later.
    later = 1000.0
    assert allowance.spent(300, later) is None
    assert allowance.spent(1, later + 20) is Spent.BYTES
    assert allowance.spent(1, later + 21) is None


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 300)), max_size=40),
    st.floats(1, 50),
    st.integers(1, 100),
)
@settings(max_examples=examples(80))
def test_no_more_bytes_than_allowed(sent: list[tuple[float, int]], rate: float, burst: int) -> None:
    allowance, now, taken = Allowance(bytes=RateLimit(rate, burst)), 0.0, 0
    largest = max((size for _, size in sent), default=0)
    for pause, size in sent:
        now += pause
        if allowance.spent(size, now) is None:
            taken += size
    assert taken <= burst + rate * now + largest + 1e-6
