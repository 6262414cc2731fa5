"""The rules, told the time: delivery window, op log, rate limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._rules.delivery_window import DeliveryWindow, Verdict
from squire_gatherings._rules.op_log import OpLog, fingerprint
from squire_gatherings._rules.rate_limit import RateLimit
from squire_gatherings._values.errors import BadBase, SyncIdReused
from squire_gatherings._values.log import Restored
from squire_gatherings._values.messages import Sync
from squire_gatherings._values.op import Op


class Model:
    """A naive model of the window: when each seq is due and when all is lost."""

    def __init__(self) -> None:
        self.acked = 0
        self.owed = 0
        self.progress_at = 0.0


events = st.lists(
    st.one_of(
        st.tuples(st.just("forward"), st.integers(1, 3)),
        st.tuples(st.just("ack"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.floats(0.01, 3)),
    ),
    max_size=60,
)


@given(events)
def test_the_delivery_window_sends_again_and_gives_up_in_time(
    plan: list[tuple[str, float]],
) -> None:
    window = DeliveryWindow(0.25, 10.0, 0)
    model = Model()
    now = 0.0
    for what, value in plan:
        if what == "forward":
            if model.acked >= model.owed:
                model.progress_at = now
            model.owed = window.reached + int(value)
            window.forwarded(model.owed, now)
        elif what == "ack":
            acked = min(int(value), window.reached)
            if acked > model.acked:
                model.acked, model.progress_at = acked, now
            window.acknowledged(acked, now)
        else:
            end = now + value
            while window.due_at <= end:
                now = window.due_at
                verdict = window.verdict(now)
                assert verdict is not Verdict.NOTHING
                if verdict is Verdict.GIVE_UP:
                    assert now == pytest.approx(model.progress_at + 10.0)
                    return
                assert window.acked < window.resend_to <= model.owed
                window.rescheduled(now)
                assert window.resend_at > now
            now = end
        assert window.unacked == max(0, model.owed - model.acked)
        assert (window.due_at == math.inf) == (model.acked >= model.owed)
        if window.unacked:
            assert now < model.progress_at + 10.0


def test_own_ops_are_not_owed_to_their_author() -> None:
    window = DeliveryWindow(0.25, 10.0, 0)
    window.forwarded(3, 0.0)
    window.passed(4)
    window.acknowledged(3, 1.0)
    assert (window.unacked, window.due_at) == (0, math.inf)


def a_sync(name: str, *values: int) -> Sync:
    return Sync(name, 0, tuple(Op.of({"n": value}) for value in values))


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=40), st.integers(1, 100))
def test_the_log_has_no_holes_and_forgets_only_what_is_stored(
    plan: list[tuple[int, bool]], tail_bytes: int
) -> None:
    log = OpLog(tail_bytes, recent_syncs=3)
    stored: list[Op] = []
    for number, (count, commit) in enumerate(plan):
        sync = a_sync(f"s{number}", *range(count))
        record = log.add(sync.ops, key=("", sync.id), mark=fingerprint(sync.ops), by=None)
        assert record.first_seq + record.count - 1 == log.seq
        found = log.syncs.find(("", sync.id))
        assert found is not None
        assert log.same(found, sync) == record
        with pytest.raises(SyncIdReused):
            log.same(found, a_sync(sync.id, 99))
        if commit:
            ops, syncs = log.uncommitted()
            stored.extend(logged.op for logged in ops)
            assert sum(one.count for one in syncs) == len(ops)
            log.commit()
            log.trim()
        assert len(stored) == log.committed
        assert log.tail_start <= log.committed + 1
        start = log.tail_start - 1
        tail = [entry.op for entry in log.slice(start, log.committed, 10**9)]
        assert tail == stored[start:]
        if start:
            with pytest.raises(LookupError):
                log.slice(start - 1, log.seq, 10**9)
    with pytest.raises(BadBase):
        log.check_seq(log.seq + 1, "base")


def test_a_slice_has_at_least_one_op() -> None:
    log = OpLog(10**6, recent_syncs=3)
    log.restore(Restored())
    log.add(a_sync("s", 1, 2, 3).ops, key=("", "s"), mark=b"", by=None)
    assert len(log.slice(0, 3, 1)) == 1
    # An op counts as it is encoded: with its author, and the commas.
    assert len(log.slice(0, 3, 25)) == 1
    assert len(log.slice(0, 3, 26)) == 2
    assert log.slice(3, 3, 100) == []


@given(st.floats(0.1, 100), st.integers(1, 20), st.lists(st.floats(0, 2), max_size=100))
def test_the_rate_limit_allows_a_burst_and_then_its_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    limit = RateLimit(rate, burst)
    now = 0.0
    allowed: list[float] = []
    for gap in gaps:
        now += gap
        if limit.allow(now):
            allowed.append(now)
    for index, start in enumerate(allowed):
        for count, end in enumerate(allowed[index:], start=1):
            assert count <= burst + rate * (end - start) + 1e-6
    assert len(allowed) >= min(len(gaps), burst)
