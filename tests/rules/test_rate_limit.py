"""Rate limits that many connections share, and that outlive each of them."""

from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._rules.rate_limit import RateLimit, SharedLimits


def test_a_debt_is_paid_in_time() -> None:
    limit = RateLimit(10, 5)
    assert limit.charge(5, 0.0) == 0
    assert limit.charge(20, 0.0) == 2
    assert not limit.allow(1.9)
    assert limit.refused == 1
    assert limit.allow(2.2)
    assert limit.refused == 0
    limit.refund()
    assert not limit.is_full(2.2)
    assert limit.is_full(3.0)


def test_a_limit_outlives_its_users_until_it_is_full() -> None:
    limits = SharedLimits(1, 3)
    one, other = limits.enter("a", 0.0), limits.enter("a", 0.0)
    assert one is other
    for _ in range(3):
        assert one.allow(0.0)
    limits.leave("a", 0.0)
    limits.leave("a", 0.0)
    again = limits.enter("a", 1.0)
    assert again is one
    assert again.allow(1.0)
    assert not again.allow(1.0)
    limits.leave("a", 1.0)
    assert limits.enter("a", 5.0).is_full(5.0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.floats(0, 3)), max_size=60))
def test_all_users_of_a_name_share_its_limit(plan: list[tuple[str, bool, float]]) -> None:
    limits, now = SharedLimits(1, 2), 0.0
    used: dict[str, list[RateLimit]] = {}
    for name, leaves, pause in plan:
        now += pause
        if leaves and used.get(name):
            used[name].pop()
            limits.leave(name, now)
        elif not leaves:
            limit = limits.enter(name, now)
            assert all(limit is other for other in used.setdefault(name, []))
            used[name].append(limit)
            limit.allow(now)


def test_what_is_full_is_forgotten_as_others_come() -> None:
    limits = SharedLimits(1, 3)
    for number in range(10_000):
        now = number / 100
        assert limits.enter(number, now).allow(now)
        limits.leave(number, now)
        # Each limit is full again after a second, in which a hundred others come.
        assert len(limits) <= 210
