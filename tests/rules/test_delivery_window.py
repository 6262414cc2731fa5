"""The delivery window against a model that keeps every seq by itself."""

import math

import pytest
from attrs import define, field
from hypothesis import example, given
from hypothesis import strategies as st

from squire_gatherings._rules.delivery_window import OWN_RANGES, DeliveryWindow, Verdict

INTERVAL, LIMIT = 0.25, 10.0


@define
class Model:
    """The seqs that the client was sent, its own ones, and the last that it acknowledged."""

    reached: int = 0
    sent: set[int] = field(factory=set)
    own: set[int] = field(factory=set)
    acked: int = 0
    progress_at: float = 0.0

    @property
    def owed(self) -> set[int]:
        return {seq for seq in self.sent if seq > self.acked}


Plan = list[tuple[str, float]]

plans = st.lists(
    st.one_of(
        st.tuples(st.just("forward"), st.integers(1, 3)),
        st.tuples(st.just("own"), st.integers(1, 2)),
        # The seq counts from the last one brought: the client may have fetched more, or be behind.
        st.tuples(st.just("ack"), st.integers(-4, 4)),
        st.tuples(st.just("wait"), st.floats(0.01, 3)),
    ),
    max_size=60,
)


@given(plans)
@example([("ack", 4), ("forward", 3), ("wait", 20)])
@example([("forward", 1), ("own", 1), ("ack", 0), ("forward", 1), ("ack", 0), ("wait", 20)])
def test_the_window_is_right_by_seq(plan: Plan) -> None:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    model = Model()
    now = 0.0
    for what, value in plan:
        count = int(value)
        if what == "forward":
            was_owed = model.owed
            model.sent |= set(range(model.reached + 1, model.reached + count + 1))
            model.reached += count
            window.forwarded(model.reached, now)
            if not was_owed:
                model.progress_at = now
        elif what == "own":
            model.own |= set(range(model.reached + 1, model.reached + count + 1))
            model.reached += count
            window.passed(model.reached)
        elif what == "ack":
            seq = max(0, model.reached + count)
            model.acked = max(model.acked, seq)
            if seq > window.acked:
                model.progress_at = now
            window.acknowledged(seq, now)
        else:
            end = now + value
            while window.due_at <= end:
                now = window.due_at
                verdict = window.verdict(now)
                assert verdict is not Verdict.NOTHING
                assert model.owed, "nothing is due for a client that has acknowledged all"
                if verdict is Verdict.GIVE_UP:
                    assert now == pytest.approx(model.progress_at + LIMIT)
                    return
                runs = list(window.runs(window.acked, window.resend_to))
                again = {seq for first, last in runs for seq in range(first, last + 1)}
                assert again == {seq for seq in model.owed if seq <= window.resend_to}
                assert min(again) == min(model.owed), "the first that lacks is among them"
                window.rescheduled(now)
                assert window.due_at > now
            now = end
        assert window.reached == model.reached
        assert (window.due_at < math.inf) == bool(model.owed)
        assert (window.unacked > 0) == bool(model.owed)
        if model.owed:
            assert now < model.progress_at + LIMIT


def test_own_ranges_are_bounded_and_never_sent_again() -> None:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    own: set[int] = set()
    seq = 0
    for _ in range(2 * OWN_RANGES):
        seq += 1
        window.forwarded(seq, 0.0)
        seq += 1
        window.passed(seq)
        own.add(seq)
    runs = list(window.runs(0, seq))
    assert len(runs) <= OWN_RANGES + 1
    assert not own & {one for first, last in runs for one in range(first, last + 1)}
    window.acknowledged(seq - 1, 1.0)
    assert window.due_at == math.inf
    assert list(window.runs(window.acked, seq + 2)) == [(seq + 1, seq + 2)]


def given_up_at(window: DeliveryWindow, look: "dict[float, tuple[int, int]]") -> float:
    """Return when the client is given up, if the bytes at each time are as the last look says."""
    while True:
        now = window.due_at
        known = [bytes_ for at, bytes_ in look.items() if at <= now]
        progress, in_transit = known[-1]
        window.looked(progress, in_transit, now)
        match window.verdict(now):
            case Verdict.GIVE_UP:
                return now
            case Verdict.RESEND:
                window.rescheduled(now)
            case Verdict.NOTHING:
                pass


def test_bytes_that_move_are_progress() -> None:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    window.forwarded(1, 0.0)
    # 300 KB go out at 10 KB/s: each look sees progress. Afterwards the client has its ten seconds.
    slow = {float(s): (min(s * 10_000, 300_000), max(0, 300_000 - s * 10_000)) for s in range(100)}
    assert 30 < given_up_at(window, slow) <= 30 + 2 * LIMIT


def test_bytes_that_are_to_go_get_one_more_limit_without_a_look_before() -> None:
    window = DeliveryWindow(100.0, LIMIT, 0)
    window.forwarded(1, 0.0)
    assert given_up_at(window, {0.0: (0, 50_000)}) == 2 * LIMIT
    window = DeliveryWindow(100.0, LIMIT, 0)
    window.forwarded(1, 0.0)
    assert given_up_at(window, {0.0: (50_000, 0)}) == LIMIT


def test_bytes_that_dont_move_are_no_progress() -> None:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    window.forwarded(1, 5.0)
    assert given_up_at(window, {0.0: (1000, 50_000)}) == 5.0 + LIMIT


def test_bytes_that_were_sent_later_are_no_progress() -> None:
    """A client that reads each retry and acknowledges nothing makes bytes move, too."""
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    window.forwarded(1, 0.0)
    reads_on = {s / 10: (1000 + s * 50, 0) for s in range(2000)}
    assert given_up_at(window, reads_on) == LIMIT


def test_time_in_which_nobody_listened_is_not_held_against_anybody() -> None:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    window.excuse(0.0, 24.0)
    assert window.due_at == math.inf
    window.forwarded(1, 1.0)
    window.excuse(9.0, 33.0)
    assert window.give_up_at == 11.0 + 24.0
    # A time that began during the pause is prolonged by its part of it; a moment is always left.
    other = DeliveryWindow(INTERVAL, LIMIT, 0)
    other.forwarded(1, 30.0)
    other.excuse(9.0, 33.0)
    assert other.give_up_at == 30.0 + LIMIT + 3.0
    late = DeliveryWindow(INTERVAL, LIMIT, 0)
    late.forwarded(1, 0.0)
    late.excuse(10.0, 34.0)
    assert late.give_up_at == 34.0 + INTERVAL
