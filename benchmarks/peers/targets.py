"""The targets: ratios that our own server is to reach, and what it reached in this run."""

from collections.abc import Callable

from attrs import frozen
from rich.console import Console
from rich.table import Table

Rate = Callable[[str, str], float | None]
"""Return a peer's messages a second in a scenario; None if they weren't measured."""

ECHO_1, ECHO_50 = "echo, 100 clients, 1 in flight", "echo, 100 clients, 50 in flight"
FAN_100, FAN_1000 = "fan-out, 100 clients", "fan-out, 1000 clients"
BURST = "fan-out, 100 clients, bursts of 50"
BURST_1000 = "fan-out, 1000 clients, bursts of 50"
BEST = (
    "trio-websocket",
    "websockets",
    "websockets-uv",
    "websockets-trio",
    "python-socketio",
    "pycrdt",
    "picows",
    "socketify",
    "node-ws",
    "node-socketio",
)


@frozen
class Target:
    """`ours` in a scenario over the best of `others` in the same (or another) scenario."""

    what: str
    scenario: str
    others: tuple[str, ...]
    least: float
    ours: str = "ours"
    against: str | None = None

    def reached(self, rate: Rate) -> float | None:
        """Return the ratio; None if something wasn't measured."""
        ours = rate(self.scenario, self.ours)
        others = [rate(self.against or self.scenario, key) for key in self.others]
        best = max((one for one in others if one is not None), default=None)
        return None if ours is None or best is None else ours / best


TARGETS = (
    *(
        target
        for fan in (FAN_100, FAN_1000)
        for target in (
            Target(f"{fan}, against the best peer", fan, BEST, 1.1),
            Target(f"{fan}, against the bare loop", fan, ("bare",), 0.8),
        )
    ),
    *(Target(f"{one}, against the best peer", one, BEST, 3.0) for one in (BURST, BURST_1000)),
    Target(f"{ECHO_1}, against trio-websocket", ECHO_1, ("trio-websocket",), 2.0),
    Target(f"{ECHO_1}, against websockets on uvloop", ECHO_1, ("websockets-uv",), 0.5),
    Target(f"{ECHO_50}, against websockets on uvloop", ECHO_50, ("websockets-uv",), 1.0),
    *(
        Target(f"{one}, SQLite against none", f"{one}, durable", ("ours",), 0.5, "durable", one)
        for one in (FAN_100, BURST, ECHO_1, ECHO_50)
    ),
    Target("fan-out to 1000, against fan-out to 100", FAN_1000, ("ours",), 0.8, "ours", FAN_100),
)


def show_targets(rate: Rate, console: Console) -> None:
    """Print the targets that were measured."""
    table = Table(title="Targets", title_justify="left", title_style="bold")
    for column in ("ratio of rates", "at least", "measured", ""):
        table.add_column(column)
    for target in TARGETS:
        ratio = target.reached(rate)
        if ratio is not None:
            met = "met" if ratio >= target.least else "missed"
            table.add_row(target.what, f"{target.least:g}", f"{ratio:.2f}", met)
    if table.row_count:
        console.print(table)
