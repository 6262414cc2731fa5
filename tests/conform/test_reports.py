"""What a client reports: only the log's changes, each once and in order, pass."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._conform.logs import Log
from squire_gatherings._conform.reports import missing_changes, wrong_changes, wrong_state
from tests.support import examples

OWN = st.lists(st.booleans(), max_size=8)


def log_of(own: list[bool]) -> Log:
    log = Log()
    for number, is_own in enumerate(own, start=1):
        by = "ann" if is_own else "bob"
        log.append([{"n": number}], by, "i1", sync_id=f"s{number}", is_own=is_own)
    return log


def due(log: Log, after: int) -> list[dict[str, Any]]:
    changes = log.changes_after(after).items()
    return [{"report": "change", "seq": seq, "by": one.by, "op": one.op} for seq, one in changes]


@settings(max_examples=examples(50))
@given(OWN, st.data())
def test_nothing_but_the_changes_passes(own: list[bool], data: st.DataObject) -> None:
    log = log_of(own)
    after = data.draw(st.integers(0, log.seq))
    changes = due(log, after)
    some = changes[: data.draw(st.integers(0, len(changes)))]
    assert wrong_changes(some, log, after) is None
    assert missing_changes(some, log, after) == [one["seq"] for one in changes[len(some) :]]
    others = st.sampled_from([*due(log, 0), {"seq": log.seq + 1, "op": {}}])
    extra = data.draw(others) if log.seq else {"seq": 1, "op": {}}
    at = data.draw(st.integers(0, len(some)))
    more = [*some[:at], extra, *some[at:]]
    if more != changes[: len(more)]:
        assert wrong_changes(more, log, after) is not None


@settings(max_examples=examples(50))
@given(OWN, st.lists(st.integers(0, 9), max_size=9))
def test_nothing_but_the_log_is_the_state(own: list[bool], numbers: list[int]) -> None:
    log = log_of(own)
    ops = [{"n": number} for number in numbers]
    assert (wrong_state(ops, log) is None) == (numbers == list(range(1, log.seq + 1)))
    assert wrong_state(log.ops, log) is None


def test_what_is_gone_is_no_change() -> None:
    log = log_of([False] * 6)
    log.gone = range(3, 5)
    assert missing_changes([], log, 1) == [2, 5, 6]
    assert wrong_state([{"n": number} for number in (1, 2, 5, 6)], log) is None
