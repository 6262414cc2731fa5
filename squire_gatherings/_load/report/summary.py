"""The summary: a report's figures in words, for the terminal and for the page's table."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from squire_gatherings._load.distributions import Latency
from squire_gatherings._load.report.report import Report

MIB = 1024 * 1024


def verdict(report: Report) -> str:
    """Return the verdict as one sentence."""
    if not report.passed:
        count = report.violations
        return f"{count:,} violation{'s' if count != 1 else ''}"
    if report.interrupted:
        return "No violation until it was interrupted"
    return "No violation"


def latency_rows(report: Report) -> list[tuple[str, Latency]]:
    """Return name and distribution of everything that was timed."""
    rows = [
        ("sync to synced", report.synced),
        ("sync to forward", report.forward),
        ("dispersal late by (clients' clock)", report.lateness),
        ("dispersal late by (server's clock)", report.server_lateness),
        ("generators behind schedule", report.lag),
    ]
    return [(name, latency) for name, latency in rows if latency is not None]


def highlights(report: Report) -> list[tuple[str, str, str, str]]:
    """Return name, value, unit and context of the few figures that people ask for first."""
    found = [
        ("Throughput", f"{report.ops_per_second:,.0f}", "ops/s", "acknowledged"),
        ("Fan-out", f"{report.forwards_per_second:,.0f}", "forwards/s", "received"),
    ]
    if report.forward is not None:
        more = f"p50 {milliseconds(report.forward.p50)} ms"
        found.append(("Sync to forward, p99", milliseconds(report.forward.p99), "ms", more))
    if report.lateness is not None:
        more = f"p50 {milliseconds(report.lateness.p50)} ms, none early"
        if "early" in report.violation_kinds:
            more = "and some early"
        found.append(("Dispersal late, p99", milliseconds(report.lateness.p99), "ms", more))
    memory = report.memory
    if memory is not None and memory.per_connection and memory.per_gathering:
        value = f"{memory.per_connection / 1024:.1f}"
        more = f"a gathering {memory.per_gathering / 1024:.1f} KiB"
        found.append(("Memory per connection", value, "KiB", more))
    return found


def figures(report: Report) -> list[tuple[str, str]]:
    """Return name and value of every other figure."""
    plan = report.plan
    rows = [
        ("gatherings", f"{plan.gatherings:,} with {plan.clients} clients each"),
        ("ops acknowledged", f"{report.ops:,} in {report.duration:.1f} s"),
        ("ops per second", f"{report.ops_per_second:,.0f}"),
        ("forwards per second", f"{report.forwards_per_second:,.0f}"),
        ("forwards", f"{report.forwards:,}, {report.repeats:,} of them retries"),
        ("joins, leaves", f"{report.joins:,}, {report.leaves:,}"),
        ("gatherings dispersed", f"{report.dispersed:,}, with {report.notices:,} notices"),
        ("logs audited", f"{report.audited:,}"),
    ]
    if plan.slow_readers:
        rows.append(
            ("slow readers", f"{plan.slow_readers:,}; closed with 4008: {report.slow_closed:,}")
        )
    if report.idle_timeout is not None:
        rows.append(("idle timeout", f"{report.idle_timeout:g} s"))
    memory = report.memory
    if memory is not None:
        rows.append(
            (
                "server's memory",
                f"{memory.start / MIB:.1f} MiB at the start, {memory.peak / MIB:.1f} at the most, "
                f"{memory.end / MIB:.1f} when all had ended",
            )
        )
        if memory.again is not None:
            rows.append(
                (
                    "with everybody there again",
                    f"{memory.again / MIB:.1f} MiB (at most {memory.bound / MIB:.1f} may be)",
                )
            )
        if memory.per_gathering is not None:
            rows.append(("memory per gathering", f"{memory.per_gathering / 1024:.1f} KiB"))
        if memory.per_connection is not None:
            rows.append(("memory per connection", f"{memory.per_connection / 1024:.1f} KiB"))
    if report.server_cpu is not None:
        rows.append(("server's CPU", f"{report.server_cpu:.0%} of one"))
    rows.append(
        (
            "generators' CPU",
            f"{report.generator_cpu:.0%} of one for the busiest of {plan.processes} "
            f"(at most {report.generator_cpu_max:.0%})",
        )
    )
    return rows


def milliseconds(value: float) -> str:
    """Return a duration with as many digits as are of use."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"


def print_summary(report: Report, console: Console) -> None:
    """Print all of it."""
    style = "bold green" if report.passed else "bold red"
    console.print(Text(verdict(report), style=style))
    table = Table(box=None, padding=(0, 2))
    for column in ("ms", "count", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(column, justify="left" if column == "ms" else "right")
    for name, one in latency_rows(report):
        values = (one.p50, one.p90, one.p99, one.p999, one.max)
        table.add_row(name, f"{one.count:,}", *map(milliseconds, values))
    console.print(table)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, value in figures(report):
        table.add_row(name, value)
    console.print(table)
    if report.left_in_store is not None:
        left = f"its gatherings stay in the server's store, as {report.left_in_store}"
        command = f"squire-gatherings delete STORE '{report.left_in_store}'"
        console.print(Text(f"Note: {left}; to delete them: {command}"))
    for warning in report.warnings:
        console.print(Text(f"Note: {warning}", style="yellow"))
    if not report.passed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in report.violation_kinds.items())
        console.print(Text(f"Violations: {kinds}. The first:", style="bold red"))
        for violation in report.first_violations:
            console.print(Text(f"  {violation}"))
