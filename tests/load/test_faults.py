"""The load test finds each kind of fault, names it, and finds none where there is none.

All cases run at the same time, against servers in this process; the assertions don't depend on how
fast they are.
"""

import pytest
import trio
from attrs import frozen

from squire_gatherings._load.checks.findings import Kind
from squire_gatherings._load.report.report import Report
from tests.load import broken_server as broken
from tests.load.running import small_load

AT_ONCE = 8
RETRY_INTERVAL = 20.0
"""The retry interval in seconds, for both sides."""

MOST_RUNS = 4
"""A load of 24 ops may give a fault no occasion: then there is another one."""


@frozen
class Case:
    """A fault, and the kind of violation that must be reported for it."""

    fault: type[broken.Fault]
    kind: Kind
    patience: float = 10.0
    churn: float = 0.0


CASES = [
    Case(broken.Drop, Kind.GAP),
    Case(broken.Repeat, Kind.REPEAT),
    Case(broken.Swap, Kind.ORDER),
    Case(broken.Own, Kind.OWN),
    Case(broken.Altered, Kind.CONTENT),
    Case(broken.Other, Kind.CONTENT),
    Case(broken.WrongSeq, Kind.WRONG_SEQ),
    Case(broken.Unanswered, Kind.UNANSWERED, patience=0.2),
    Case(broken.Refused, Kind.REFUSED, patience=1.0),
    Case(broken.Missed, Kind.CONTENT, churn=120.0),
    Case(broken.Loses, Kind.LOST),
    Case(broken.Forgets, Kind.NO_NOTICE),
    Case(broken.Silent, Kind.NO_NOTICE, patience=1.0),
    Case(broken.Twice, Kind.TWO_NOTICES),
    Case(broken.Talks, Kind.AFTER_NOTICE),
    Case(broken.Reason, Kind.BAD_NOTICE),
    Case(broken.WrongCode, Kind.CLOSED),
    Case(broken.Early, Kind.EARLY),
    Case(broken.AdmitsEarly, Kind.EARLY),
    Case(broken.Never, Kind.OVERDUE, patience=1.0),
    Case(broken.Closes, Kind.CLOSED),
    Case(broken.Babbles, Kind.PROTOCOL),
]


async def _run_all() -> dict[type[broken.Fault], Report]:
    reports: dict[type[broken.Fault], Report] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def run_one(case: Case) -> None:
        async with limit, trio.open_nursery() as nursery:
            port = await nursery.start(broken.serve_broken, case.fault, RETRY_INTERVAL)
            changes = {"patience": case.patience, "churn": case.churn, "idle_timeout": None}
            # With a short interval, a busy machine would explain repeated ops, and hide faults.
            changes["retry_interval"] = RETRY_INTERVAL
            for _ in range(MOST_RUNS):
                reports[case.fault] = await small_load(port, **changes)
                if case.fault is broken.Fault or not reports[case.fault].passed:
                    break
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for case in [*CASES, Case(broken.Fault, Kind.GAP, churn=120.0)]:
            nursery.start_soon(run_one, case)
    return reports


@pytest.fixture(scope="module")
def reports() -> dict[type[broken.Fault], Report]:
    return trio.run(_run_all)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.fault.__name__)
def test_it_finds(case: Case, reports: dict[type[broken.Fault], Report]) -> None:
    report = reports[case.fault]
    assert not report.passed
    assert case.kind in report.violation_kinds, report.first_violations
    named = [one for one in report.first_violations if one.kind == case.kind]
    assert named[0].gathering is not None
    assert named[0].gathering.startswith("load-test-")


def test_it_finds_nothing_where_nothing_is(reports: dict[type[broken.Fault], Report]) -> None:
    report = reports[broken.Fault]
    assert (report.passed, report.violation_kinds) == (True, {}), report.first_violations
    # Three gatherings got 8 ops each, and one was idle. All ended, and all logs were read again.
    assert (report.ops, report.audited) == (24, 3)
    assert report.dispersed >= 4
    assert report.leaves > 0
