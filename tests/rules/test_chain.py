"""The chain: if what was appended differs in anything, the head differs."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from squire_gatherings._rules.chain import HEAD_SIZE, head_after, head_of, next_head, state_digest
from squire_gatherings._rules.op_log import OpLog, fingerprint
from squire_gatherings._values.log import (
    Append,
    LoggedOp,
    Restored,
    SyncRecord,
    of_each,
    runs,
)
from squire_gatherings._values.op import Op
from tests.support import examples

APPEND = Append(
    "friday",
    7,
    (
        LoggedOp(b'{"n":1}', "alice", "one", 1000),
        LoggedOp(b'{"n":2}', "alice", "one", 1000),
        LoggedOp(b'{"n":3}', None, "one", 1000),
    ),
    (SyncRecord("5::alice", "s1", 7, 2, b"0" * 16), SyncRecord("0::", "s2", 9, 1, b"1" * 16)),
)


def with_op(**changes: Any) -> Append:
    return replace(APPEND, ops=(APPEND.ops[0], replace(APPEND.ops[1], **changes), APPEND.ops[2]))


def with_sync(**changes: Any) -> Append:
    return replace(APPEND, syncs=(replace(APPEND.syncs[0], **changes), APPEND.syncs[1]))


@pytest.mark.parametrize(
    "other",
    [
        replace(APPEND, gathering="fridax"),
        replace(APPEND, first_seq=8),
        replace(APPEND, ops=APPEND.ops[:2]),
        replace(APPEND, ops=(APPEND.ops[1], APPEND.ops[0], APPEND.ops[2])),
        replace(APPEND, syncs=APPEND.syncs[:1]),
        with_op(json=b'{"n":9}'),
        with_op(by="alicf"),
        with_op(by=None),
        with_op(epoch="two"),
        with_op(time=1001),
        with_sync(scope="5::alicf"),
        with_sync(id="s3"),
        with_sync(first_seq=8),
        with_sync(count=1),
        with_sync(fingerprint=b"0" * 15),
    ],
)
def test_a_change_of_any_part_is_another_head(other: Append) -> None:
    head = head_after(b"", APPEND)
    assert len(head) == HEAD_SIZE
    assert head_after(b"", replace(APPEND, head=b"said")) == head
    assert head_after(b"", other) != head
    assert head_after(head, APPEND) != head
    # What follows differs, too.
    later = Append("friday", 10, (LoggedOp(b"{}", None),), ())
    assert head_after(head, later) != head_after(head_after(b"", other), later)


def test_an_append_without_ops_changes_nothing() -> None:
    assert next_head(b"before", "friday", 7, (), ()) == b"before"


def test_what_no_store_takes_has_no_head() -> None:
    assert head_after(b"before", replace(APPEND, gathering="\ud800")) == b""
    assert head_after(b"before", with_op(by="\ud800")) == b""


def test_a_state_belongs_to_its_head() -> None:
    digest = state_digest(b"a" * HEAD_SIZE, b"{}")
    assert digest != state_digest(b"b" * HEAD_SIZE, b"{}")
    assert digest != state_digest(b"a" * HEAD_SIZE, b"[]")
    assert digest != head_after(b"a" * HEAD_SIZE, APPEND)


VALUES = st.lists(st.sampled_from("abc"), max_size=9)


@settings(max_examples=examples(100))
@given(VALUES, st.integers(1, 9), st.sampled_from(["a", ""]))
def test_runs_and_back(values: list[str], first: int, before: str) -> None:
    found = runs(values, first, before=before)
    assert take(len(values), of_each(found, first, before=before)) == values
    for start in range(len(values)):
        assert (
            take(len(values) - start, of_each(found, first + start, before=before))
            == (values[start:])
        )


def take(count: int, values: Iterable[str]) -> list[str]:
    return [value for value, _ in zip(values, range(count), strict=False)]


@settings(max_examples=examples(50))
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=5), st.data())
def test_the_log_makes_the_chain(turns: list[list[int]], data: st.DataObject) -> None:
    log = OpLog(10**6, 100, "one")
    log.restore(Restored(6, time=50, head=b"before"))
    head, now = b"before", 0
    number = 0
    for turn in turns:
        # The clock may go back; the log's times don't.
        now = data.draw(st.integers(0, 100))
        time = max(log.time, now)
        assert time == max(now, log.time)
        for count in turn:
            number += 1
            ops = [Op.of({"n": n}) for n in range(count)]
            key = ("scope", f"s{number}")
            log.add(ops, key=key, mark=fingerprint(ops), by="alice", time=time)
        append = log.append("friday", b"state")
        # After a commit that failed, the same link may be made again.
        assert append == log.append("friday", b"state")
        assert {one.time for one in append.ops} == {time}
        head = head_after(head, append)
        assert (append.before, head_of(append)) == (log.head, head)
        assert append.snapshot is not None
        assert append.snapshot.digest == state_digest(head, b"state")
        log.commit()
        assert (log.head, log.time) == (head, time)


def test_a_link_says_how_long_each_part_is() -> None:
    # The same bytes are cut elsewhere.
    def link(*parts: str) -> Append:
        return Append("g", 1, tuple(LoggedOp(one.encode(), None) for one in parts), ())

    cases: list[Callable[[], Append]] = [
        lambda: link("ab", "c"),
        lambda: link("a", "bc"),
        lambda: link("abc"),
        lambda: link("a", "b", "c"),
    ]
    assert len({head_after(b"", case()) for case in cases}) == len(cases)
