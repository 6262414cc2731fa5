"""The feed and the ledger: what an onlooker may get, and each way in which it may not."""

import pytest

from squire_gatherings._load.feed import Feed
from squire_gatherings._load.findings import Finding, Kind
from squire_gatherings._load.ledger import Ledger
from squire_gatherings._load.messages import LoadOp

PAD = "xyz"
INTERVAL = 0.25


def op(number: int, *, author: int = 1, at: float = 0.0, pad: str = PAD) -> LoadOp:
    return LoadOp(number, author, at, pad)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(100)


@pytest.fixture
def feed(ledger: Ledger) -> Feed:
    feed = Feed(0, ledger, INTERVAL, PAD)
    feed.begin()
    feed.joined(0, [], 0)
    return feed


def found(kind: Kind, seq: int | None) -> "pytest.RaisesExc[Finding]":
    return pytest.raises(Finding, check=lambda error: (error.kind, error.seq) == (kind, seq))


def test_in_order_is_right(feed: Feed) -> None:
    for seq in (1, 2, 3):
        feed.forwarded(seq, op(10 + seq), 0.1)
    feed.synced(4)
    feed.forwarded(5, op(15), 0.1)
    feed.finished(5, 5)
    assert (feed.have, feed.repeated) == (5, 0)


def test_a_gap_is_named_and_what_never_comes_is_lost(feed: Feed) -> None:
    feed.forwarded(1, op(1), 0.1)
    with found(Kind.GAP, 4):
        feed.forwarded(4, op(4), 0.1)
    feed.forwarded(5, op(5), 0.1)
    with found(Kind.LOST, 2):
        feed.finished(5, 5)


def test_what_comes_after_its_successor_is_out_of_order(feed: Feed) -> None:
    with found(Kind.GAP, 2):
        feed.forwarded(2, op(2), 0.1)
    with found(Kind.ORDER, 1):
        feed.forwarded(1, op(1), 0.1)
    feed.finished(2, 2)


def test_a_retry_is_right_when_it_may_be_due(feed: Feed) -> None:
    feed.forwarded(1, op(1, at=5.0), 5.01)
    feed.forwarded(1, op(1, at=5.0), 5.25)
    feed.forwarded(1, op(1, at=5.0), 5.75)
    assert feed.repeated == 2


@pytest.mark.parametrize("times", [(5.24,), (5.25, 5.49)])
def test_a_retry_is_wrong_when_none_may_be_due(feed: Feed, times: tuple[float, ...]) -> None:
    feed.forwarded(1, op(1, at=5.0), 5.01)
    *right, wrong = times
    for now in right:
        feed.forwarded(1, op(1, at=5.0), now)
    with found(Kind.REPEAT, 1):
        feed.forwarded(1, op(1, at=5.0), wrong)


def test_a_retry_is_wrong_after_a_processed_acknowledgement(feed: Feed) -> None:
    feed.forwarded(1, op(1), 0.1)
    feed.proven = 1
    with found(Kind.REPEAT, 1):
        feed.forwarded(1, op(1), 60.0)


def test_what_joined_brought_is_not_forwarded(feed: Feed) -> None:
    feed.begin()
    feed.joined(2, [op(1), op(2)], 2)
    with found(Kind.REPEAT, 2):
        feed.forwarded(2, op(2), 60.0)
    feed.forwarded(3, op(3), 60.0)


def test_own_ops_are_forwarded_only_from_earlier_connections(feed: Feed) -> None:
    feed.submitted(7)
    feed.begin()
    feed.joined(0, [], 0)
    feed.forwarded(1, op(7, author=0), 0.1)
    feed.submitted(8)
    with found(Kind.OWN, 2):
        feed.forwarded(2, op(8, author=0), 0.1)


def test_joined_brings_what_was_missed_and_nothing_else(feed: Feed, ledger: Ledger) -> None:
    feed.forwarded(1, op(1), 0.1)
    for seq in (2, 3):
        ledger.record(seq, seq)
    feed.begin()
    feed.joined(3, [op(2), op(3)], 3)
    assert feed.have == 3
    feed.begin()
    with found(Kind.CONTENT, 3):
        feed.joined(3, [op(3)], 3)


def test_joined_ops_are_compared(feed: Feed, ledger: Ledger) -> None:
    ledger.record(1, 5)
    with found(Kind.CONTENT, 1):
        feed.joined(1, [op(6)], 1)


def test_joined_may_not_lack_what_was_acknowledged(feed: Feed) -> None:
    with found(Kind.LOST, 4):
        feed.joined(3, [], 4)


def test_other_contents_are_found(feed: Feed) -> None:
    with found(Kind.CONTENT, 1):
        feed.forwarded(1, op(1, pad="xyZ"), 0.1)


def test_synced_must_follow_what_we_have(feed: Feed) -> None:
    with found(Kind.GAP, 3):
        feed.synced(3)
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.LOST):
        feed.finished(3, 3)


def test_synced_may_repeat_what_came_before(feed: Feed) -> None:
    feed.begin()
    feed.joined(2, [op(1), op(2)], 0)
    feed.synced(1)
    assert feed.have == 2


@pytest.mark.parametrize(("seq", "acknowledged"), [(3, 3), (1, 1), (2, 3)])
def test_the_end_must_be_where_we_are(feed: Feed, seq: int, acknowledged: int) -> None:
    feed.forwarded(1, op(1), 0.1)
    feed.forwarded(2, op(2), 0.1)
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.LOST):
        feed.finished(seq, acknowledged)


def test_the_ledger_knows_one_op_for_a_seq_and_one_seq_for_an_op(ledger: Ledger) -> None:
    ledger.acknowledge(2, 20)
    ledger.record(2, 20)
    ledger.record(1, 10)
    assert (ledger.acknowledged, ledger.settled, ledger.known) == (2, 1, 2)
    with found(Kind.CONTENT, 2):
        ledger.record(2, 21)
    with found(Kind.WRONG_SEQ, 3):
        ledger.record(3, 20)
    with found(Kind.WRONG_SEQ, 3):
        ledger.acknowledge(3, 10)
    with found(Kind.CONTENT, 3):
        ledger.record(3, 10)
    with found(Kind.CONTENT, 3):
        ledger.record(3, 100)
    assert ledger.seq_of(20) == 2
