"""Nodes under the nemesis, for less than a minute; `make nemesis` does it for an hour."""

from pathlib import Path
from typing import Any

import trio

from tests.nemesis.diary import Diary
from tests.nemesis.run import Plan, Run


def run(plan: Plan, folder: Path) -> Diary:
    """Run, on the real clock."""
    diary = Diary(settle=plan.lease + 2)
    trio.run(Run(plan, folder, diary).run)
    return diary


def small(seed: int, seconds: float, store: str | None, **more: Any) -> Plan:
    """Return a plan for a small run."""
    return Plan(
        seed=seed,
        seconds=seconds,
        nodes=1,
        gatherings=15,
        rate=60.0,
        pause=1.0,
        idle_timeout=1.0,
        lease=1.0,
        stay=(4.0, 8.0),
        store=store,
        **more,
    )


def test_one_node_on_a_file(tmp_path: Path) -> None:
    diary = run(small(1, 8, f"sqlite:///{tmp_path}/rooms.sqlite3"), tmp_path)
    assert not diary.violations, str(diary)
    assert diary.counts["syncs"] > 100
    assert diary.counts["ends"] > 3
    assert diary.counts["gatherings"] >= 15


def test_three_nodes_and_their_database(tmp_path: Path) -> None:
    plan = Plan(
        seed=5,
        seconds=16.0,
        gatherings=15,
        rate=50.0,
        pause=0.7,
        idle_timeout=2.0,
        stay=(5.0, 15.0),
        patience=60.0,
    )
    diary = run(plan, tmp_path)
    assert not diary.violations, str(diary)
    assert diary.counts["syncs"] > 100
    assert diary.counts["gatherings"] >= 15
    assert len(diary.faults) > 3


def test_what_is_lost_is_found_out(tmp_path: Path) -> None:
    diary = run(small(1, 5, "memory:", only=("kill",), patience=1.0), tmp_path)
    # A client that comes back knows more than the log has.
    assert any("bad_base" in one or "log_replaced" in one for one in diary.violations), str(diary)
