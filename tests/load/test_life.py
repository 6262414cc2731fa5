"""Lives: a notice may never come early, and its lateness is an upper bound."""

import pytest

from squire_gatherings._load.findings import Finding, Kind
from squire_gatherings._load.life import Life


@pytest.fixture
def life() -> Life:
    life = Life("one", 5.0)
    life.was_processed(100.0)
    return life


def test_on_time(life: Life) -> None:
    life.noticed(105.002, "idle", 5.001)
    assert life.late == pytest.approx(0.002)


def test_the_last_message_sent_counts_though_nobody_answered_it(life: Life) -> None:
    life.sent = 101.0
    life.noticed(106.5, "idle", 5.4)
    assert life.late == pytest.approx(0.5)


def test_a_message_that_crossed_the_notice_does_not_count(life: Life) -> None:
    life.sent = 104.999
    life.noticed(105.003, "idle", 5.001)
    assert life.late == pytest.approx(0.003)


def test_early_by_what_was_certainly_processed(life: Life) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.EARLY):
        life.noticed(104.99, "idle", 5.1)


def test_early_by_what_the_notice_says(life: Life) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.EARLY):
        life.noticed(105.1, "idle", 4.9)


def test_another_reason(life: Life) -> None:
    with pytest.raises(Finding, check=lambda error: error.kind is Kind.BAD_NOTICE):
        life.noticed(105.1, "admin", 5.1)


def test_the_last_of_several_notices_is_the_lateness(life: Life) -> None:
    for now in (105.01, 105.04, 105.02):
        life.noticed(now, "idle", 5.0)
    assert life.first_notice == 105.01
    assert life.late == pytest.approx(0.04)
