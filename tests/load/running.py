"""Small load tests for tests: they last a second, and run in this process."""

import io
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import trio
from attrs import evolve
from rich.console import Console

from squire_gatherings._load.coordinator.coordinator import coordinate
from squire_gatherings._load.coordinator.target import Target
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.report.progress import ProgressDisplay
from squire_gatherings._load.report.report import Report, make_report

SMALL = Plan(
    run="test",
    host="",
    port=0,
    gatherings=4,
    clients=3,
    rate=10.0,
    op_size=100,
    duration=0.8,
    ramp=0.2,
    churn=0.0,
    idle_fraction=0.25,
    slow_readers=0,
    idle_timeout=0.5,
    retry_interval=0.25,
    patience=10.0,
    seed=1,
    processes=1,
)


async def nobody_interrupts() -> AsyncIterator[int]:
    """Wait for ever: no signal comes."""
    await trio.sleep_forever()
    yield 0


async def small_load(port: int | None, **changes: Any) -> Report:
    """Run a small load test, against a port of loopback or a server of its own."""
    plan = evolve(SMALL, **changes)
    target = Target(address=None if port is None else ("127.0.0.1", port), store="memory:")
    with ProgressDisplay(plan, Console(file=io.StringIO())) as progress:
        outcome = await coordinate(plan, target, progress, nobody_interrupts())
    return make_report(
        outcome,
        command=" ".join(sys.argv[:1]),
        started=datetime.now().astimezone(),
        own_server=port is None,
    )
