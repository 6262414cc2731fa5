"""Incarnations: a notice may never come early, and its lateness is an upper bound."""

import pytest

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.incarnation import Incarnation


@pytest.fixture
def incarnation() -> Incarnation:
    incarnation = Incarnation("one", 5.0)
    incarnation.was_processed(100.0)
    return incarnation


def test_on_time(incarnation: Incarnation) -> None:
    incarnation.noticed(105.002, "idle", 5.001)
    assert incarnation.late == pytest.approx(0.002)


def test_the_last_message_sent_counts_though_nobody_answered_it(incarnation: Incarnation) -> None:
    incarnation.sent = 101.0
    incarnation.noticed(106.5, "idle", 5.4)
    assert incarnation.late == pytest.approx(0.5)


def test_a_message_that_crossed_the_notice_does_not_count(incarnation: Incarnation) -> None:
    incarnation.sent = 104.999
    incarnation.noticed(105.003, "idle", 5.001)
    assert incarnation.late == pytest.approx(0.003)


def test_an_end_is_early_by_the_processed_messages(incarnation: Incarnation) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.EARLY):
        incarnation.noticed(104.99, "idle", 5.1)


def test_an_end_is_early_by_its_notice(incarnation: Incarnation) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.EARLY):
        incarnation.noticed(105.1, "idle", 4.9)


def test_another_reason(incarnation: Incarnation) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.BAD_NOTICE):
        incarnation.noticed(105.1, "admin", 5.1)


def test_the_last_of_several_notices_is_the_lateness(incarnation: Incarnation) -> None:
    for now in (105.01, 105.04, 105.02):
        incarnation.noticed(now, "idle", 5.0)
    assert incarnation.first_notice == 105.01
    assert incarnation.late == pytest.approx(0.04)
