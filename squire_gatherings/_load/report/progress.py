"""Live progress on standard error: a table where a person looks, plain lines elsewhere."""

from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from squire_gatherings._load.coordinator.aggregate import Aggregate
from squire_gatherings._load.distributions import Latency
from squire_gatherings._load.plan import Plan

LINE_EVERY = 5.0


class ProgressDisplay:
    """Shows how a load test stands; see `Progress` of the coordinator. A context manager."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._phase = "starting"
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> "ProgressDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, phase: str) -> None:
        """A new phase begins."""
        self._phase = phase
        if not self._console.is_terminal:
            self._console.print(f"load: {phase}", highlight=False, soft_wrap=True)

    def update(self, aggregate: Aggregate, memory: int | None) -> None:
        """There are new figures."""
        if self._phase == "starting":
            self._phase = "loading"
        if self._console.is_terminal:
            self._live.update(self._table(aggregate, memory), refresh=True)
        elif monotonic() >= self._next_line:
            self._next_line = monotonic() + LINE_EVERY
            figures = self._figures(aggregate, memory)
            line = ", ".join(f"{name} {value}" for name, value in figures)
            self._console.print(f"load: {line}", highlight=False, soft_wrap=True)

    def _figures(self, aggregate: Aggregate, memory: int | None) -> list[tuple[str, str]]:
        recent = aggregate.recent
        figures = [
            ("at", f"{max(0.0, aggregate.at):.0f} s of {self._whole():.0f} s"),
            ("connections", f"{aggregate.connected:,} of {self._plan.connections:,}"),
            ("ops/s", f"{recent.ops:,}" if recent else "0"),
            ("forwards/s", f"{recent.forwards:,}" if recent else "0"),
            ("sync to synced", _latency(recent.synced if recent else None)),
            ("sync to forward", _latency(recent.forward if recent else None)),
            ("gatherings alive", f"{aggregate.alive:,}"),
            ("dispersed", f"{aggregate.counts['dispersed']:,}"),
        ]
        if memory is not None:
            figures.append(("server's memory", f"{memory / 2**20:.0f} MiB"))
        if recent is not None:
            figures.append(("generators' CPU", f"{recent.cpu:.0%}"))
        figures.append(("violations", f"{sum(aggregate.kinds.values()):,}"))
        return figures

    def _whole(self) -> float:
        return self._plan.load_ends + (self._plan.idle_timeout or 0)

    def _table(self, aggregate: Aggregate, memory: int | None) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2), title_justify="left")
        table.title = Text(f"load: {self._phase}", style="bold")
        table.add_column(style="dim")
        table.add_column(justify="right")
        for name, value in self._figures(aggregate, memory):
            bad = name == "violations" and value != "0"
            table.add_row(name, Text(value, style="bold red" if bad else ""))
        return table


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "-"
    return f"p50 {latency.p50:.1f}, p99 {latency.p99:.1f}, max {latency.max:.0f} ms"
