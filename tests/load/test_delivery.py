"""The delivery and log checks: what a client may be sent, and each violation."""

import pytest

from squire_gatherings._load.checks.delivery import DeliveryCheck
from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.log import LogCheck
from squire_gatherings._load.op import LoadOp

PAD = "xyz"
INTERVAL = 0.25


def op(number: int, *, author: int = 1, at: float = 0.0, pad: str = PAD) -> LoadOp:
    return LoadOp(number, author, at, pad)


@pytest.fixture
def log() -> LogCheck:
    return LogCheck(100)


@pytest.fixture
def delivery(log: LogCheck) -> DeliveryCheck:
    delivery = DeliveryCheck(0, log, INTERVAL, PAD)
    delivery.begin()
    delivery.joined(0, [], 0)
    return delivery


def found(kind: Kind, seq: int | None) -> "pytest.RaisesExc[Finding]":
    return pytest.raises(Finding, check=lambda error: (error.kind, error.seq) == (kind, seq))


def test_in_order_is_right(delivery: DeliveryCheck) -> None:
    for seq in (1, 2, 3):
        delivery.forwarded(seq, op(10 + seq), 0.1)
    delivery.synced(4)
    delivery.forwarded(5, op(15), 0.1)
    delivery.finished(5, 5)
    assert (delivery.have, delivery.repeated) == (5, 0)


def test_a_gap_is_named_and_what_never_comes_is_lost(delivery: DeliveryCheck) -> None:
    delivery.forwarded(1, op(1), 0.1)
    with found(Kind.GAP, 4):
        delivery.forwarded(4, op(4), 0.1)
    delivery.forwarded(5, op(5), 0.1)
    with found(Kind.LOST, 2):
        delivery.finished(5, 5)


def test_what_comes_after_its_successor_is_out_of_order(delivery: DeliveryCheck) -> None:
    with found(Kind.GAP, 2):
        delivery.forwarded(2, op(2), 0.1)
    with found(Kind.ORDER, 1):
        delivery.forwarded(1, op(1), 0.1)
    delivery.finished(2, 2)


def test_a_retry_is_right_when_it_may_be_due(delivery: DeliveryCheck) -> None:
    delivery.forwarded(1, op(1, at=5.0), 5.01)
    delivery.forwarded(1, op(1, at=5.0), 5.25)
    delivery.forwarded(1, op(1, at=5.0), 5.75)
    assert delivery.repeated == 2


@pytest.mark.parametrize("times", [(5.24,), (5.25, 5.49)])
def test_a_retry_is_wrong_when_none_may_be_due(
    delivery: DeliveryCheck, times: tuple[float, ...]
) -> None:
    delivery.forwarded(1, op(1, at=5.0), 5.01)
    *right, wrong = times
    for now in right:
        delivery.forwarded(1, op(1, at=5.0), now)
    with found(Kind.REPEAT, 1):
        delivery.forwarded(1, op(1, at=5.0), wrong)


def test_a_retry_is_wrong_after_a_processed_acknowledgement(delivery: DeliveryCheck) -> None:
    delivery.forwarded(1, op(1), 0.1)
    delivery.proven = 1
    with found(Kind.REPEAT, 1):
        delivery.forwarded(1, op(1), 60.0)


def test_what_joined_brought_is_not_forwarded(delivery: DeliveryCheck) -> None:
    delivery.begin()
    delivery.joined(2, [op(1), op(2)], 2)
    with found(Kind.REPEAT, 2):
        delivery.forwarded(2, op(2), 60.0)
    delivery.forwarded(3, op(3), 60.0)


def test_own_ops_are_forwarded_only_from_earlier_connections(delivery: DeliveryCheck) -> None:
    delivery.submitted(7)
    delivery.begin()
    delivery.joined(0, [], 0)
    delivery.forwarded(1, op(7, author=0), 0.1)
    delivery.submitted(8)
    with found(Kind.OWN, 2):
        delivery.forwarded(2, op(8, author=0), 0.1)


def test_joined_brings_what_was_missed_and_nothing_else(
    delivery: DeliveryCheck, log: LogCheck
) -> None:
    delivery.forwarded(1, op(1), 0.1)
    for seq in (2, 3):
        log.record(seq, seq)
    delivery.begin()
    delivery.joined(3, [op(2), op(3)], 3)
    assert delivery.have == 3
    delivery.begin()
    with found(Kind.CONTENT, 3):
        delivery.joined(3, [op(3)], 3)


def test_joined_ops_are_compared(delivery: DeliveryCheck, log: LogCheck) -> None:
    log.record(1, 5)
    with found(Kind.CONTENT, 1):
        delivery.joined(1, [op(6)], 1)


def test_joined_may_not_lack_what_was_acknowledged(delivery: DeliveryCheck) -> None:
    with found(Kind.LOST, 4):
        delivery.joined(3, [], 4)


def test_other_contents_are_found(delivery: DeliveryCheck) -> None:
    with found(Kind.CONTENT, 1):
        delivery.forwarded(1, op(1, pad="xyZ"), 0.1)


def test_synced_must_follow_what_we_have(delivery: DeliveryCheck) -> None:
    with found(Kind.GAP, 3):
        delivery.synced(3)
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.LOST):
        delivery.finished(3, 3)


def test_synced_may_repeat_what_came_before(delivery: DeliveryCheck) -> None:
    delivery.begin()
    delivery.joined(2, [op(1), op(2)], 0)
    delivery.synced(1)
    assert delivery.have == 2


@pytest.mark.parametrize(("seq", "acknowledged"), [(3, 3), (1, 1), (2, 3)])
def test_the_end_must_be_where_we_are(delivery: DeliveryCheck, seq: int, acknowledged: int) -> None:
    delivery.forwarded(1, op(1), 0.1)
    delivery.forwarded(2, op(2), 0.1)
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.LOST):
        delivery.finished(seq, acknowledged)


def test_the_log_check_knows_one_op_for_a_seq_and_one_seq_for_an_op(log: LogCheck) -> None:
    log.acknowledge(2, 20)
    log.record(2, 20)
    log.record(1, 10)
    assert (log.acknowledged, log.settled, log.known) == (2, 1, 2)
    with found(Kind.CONTENT, 2):
        log.record(2, 21)
    with found(Kind.WRONG_SEQ, 3):
        log.record(3, 20)
    with found(Kind.WRONG_SEQ, 3):
        log.acknowledge(3, 10)
    with found(Kind.CONTENT, 3):
        log.record(3, 10)
    with found(Kind.CONTENT, 3):
        log.record(3, 100)
    assert log.seq_of(20) == 2
