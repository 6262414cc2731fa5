"""The report: what a load test found, as one value. JSON, text and page are made of it."""

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from attrs import frozen

from squire_gatherings._load.checks.findings import Violation
from squire_gatherings._load.checks.incarnation import Dispersal
from squire_gatherings._load.checks.memory import Memory
from squire_gatherings._load.coordinator.aggregate import Second
from squire_gatherings._load.coordinator.outcome import Outcome
from squire_gatherings._load.distributions import Latency, percentile_curve
from squire_gatherings._load.plan import Plan

FIRST_VIOLATIONS = 20
BUSY = 0.9
BUSY_SECONDS = 0.1
LATE_MS = 20.0


@frozen(kw_only=True)
class Report:
    """Times in seconds, latencies and lateness in milliseconds, memory in bytes."""

    passed: bool
    """Whether there was no violation in what was checked."""

    interrupted: bool
    command: str
    started: str
    version: str
    machine: str
    own_server: bool
    left_in_store: str | None
    """The ids of its gatherings, as `delete` takes them, where they stay in another's store."""

    plan: Plan
    violations: int
    violation_kinds: dict[str, int]
    first_violations: list[Violation]
    warnings: list[str]
    """Why the figures are worth less, though nothing is wrong."""

    duration: float
    """Seconds from the first op to the last."""

    ops: int
    forwards: int
    repeats: int
    """Forwards that came again, as they may (counted in `forwards`, too)."""

    ops_per_second: float
    forwards_per_second: float
    joins: int
    leaves: int
    acks: int
    notices: int
    dispersed: int
    audited: int
    """Gatherings whose log was read again after the end."""

    slow_closed: int
    idle_timeout: float | None
    ends_checked: bool
    synced: Latency | None
    """From the moment that an op was due to its `synced`."""

    forward: Latency | None
    """From the moment that an op was due to its forward at another client."""

    synced_curve: list[tuple[float, float]]
    forward_curve: list[tuple[float, float]]
    """(percentile, milliseconds), ever finer towards 100."""

    lateness: Latency | None
    """How late each gathering's last notice came: after the last counted message sent + idle
    timeout."""

    server_lateness: Latency | None
    """The notice's `idle_for` - idle timeout: the same by the server's own clock."""

    lag: Latency | None
    """How late the generators were with what was due."""

    generator_cpu: float
    """CPU share of the busiest generator process while there was a load."""

    generator_cpu_max: float
    server_cpu: float | None
    ended_at: float
    """When all gatherings had ended; the audit follows."""

    memory: Memory | None
    memory_samples: list[tuple[float, int]]
    seconds: list[Second]
    dispersals: list[Dispersal]


def make_report(outcome: Outcome, *, command: str, started: datetime, own_server: bool) -> Report:
    """Sum up an outcome."""
    aggregate, plan = outcome.aggregate, outcome.plan
    counts = aggregate.counts
    first = aggregate.first_op_at or 0.0
    duration = max(0.0, aggregate.last_op_at - first)
    load = [one for one in aggregate.seconds if first <= one.at < aggregate.last_op_at]
    shares = [one.cpu for one in load] or [0.0]
    lag = Latency.of(aggregate.lag)
    kinds = aggregate.kinds
    return Report(
        passed=not kinds,
        interrupted=outcome.interrupted,
        command=command,
        started=started.isoformat(timespec="seconds"),
        version=_version(),
        machine=_machine(),
        own_server=own_server,
        left_in_store=None if own_server else plan.pattern,
        plan=plan,
        violations=sum(kinds.values()),
        violation_kinds=kinds,
        first_violations=aggregate.violations[:FIRST_VIOLATIONS],
        warnings=_warnings(outcome, shares, lag),
        duration=duration,
        ops=counts["synced"],
        forwards=counts["forwards"],
        repeats=counts["repeats"],
        ops_per_second=counts["synced"] / duration if duration else 0.0,
        forwards_per_second=counts["forwards"] / duration if duration else 0.0,
        joins=counts["joins"],
        leaves=counts["leaves"],
        acks=counts["acks"],
        notices=counts["notices"],
        dispersed=counts["dispersed"],
        audited=counts["audited"],
        slow_closed=counts["slow_closed"],
        idle_timeout=aggregate.idle_timeout,
        ends_checked=not outcome.interrupted and not aggregate.unchecked,
        synced=Latency.of(aggregate.synced),
        forward=Latency.of(aggregate.forward),
        synced_curve=percentile_curve(aggregate.synced),
        forward_curve=percentile_curve(aggregate.forward),
        lateness=Latency.of_exact([one.late * 1000 for one in aggregate.dispersals]),
        server_lateness=Latency.of_exact([one.server_late * 1000 for one in aggregate.dispersals]),
        lag=lag,
        generator_cpu=sum(shares) / len(shares),
        generator_cpu_max=max(shares),
        server_cpu=outcome.server_cpu,
        ended_at=outcome.ended_at,
        memory=outcome.memory,
        memory_samples=outcome.memory_samples,
        seconds=aggregate.seconds,
        dispersals=aggregate.dispersals,
    )


def _warnings(outcome: Outcome, shares: list[float], lag: Latency | None) -> list[str]:
    plan, aggregate = outcome.plan, outcome.aggregate
    found = []
    busy = sum(share > BUSY for share in shares)
    if busy > BUSY_SECONDS * len(shares):
        found.append(
            f"A generator process was saturated (over {BUSY:.0%} of a CPU) in {busy} of "
            f"{len(shares)} seconds: latencies are partly its own. Use more --processes, or less "
            "load."
        )
    if lag is not None and lag.p99 > LATE_MS:
        found.append(
            f"The generators were behind their schedule (p99 {lag.p99:.0f} ms): they or the "
            "machine were too busy. Latencies count from when an op was due, and include this."
        )
    done = aggregate.joins_done(first=False)
    if done is None:
        found.append("Not everybody could join.")
    elif done > plan.ramp:
        found.append(f"The last client had joined after {done:.1f} s, not {plan.ramp:.1f} s.")
    if outcome.server_cpu is not None and outcome.server_cpu > BUSY:
        found.append(
            f"The server used {outcome.server_cpu:.0%} of a CPU: this is close to the most that "
            "one process does."
        )
    if outcome.interrupted:
        found.append("Interrupted: ends of gatherings that were still alive were not checked.")
    elif aggregate.unchecked:
        found.append(
            f"{aggregate.unchecked} gatherings were still alive at the end: the idle timeout is "
            "too long to wait for, so their ends were not checked."
        )
    return found


def _version() -> str:
    try:
        return version("squire-gatherings")
    except PackageNotFoundError:
        return "unknown"


def _machine() -> str:
    return (
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )
