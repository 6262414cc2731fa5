"""The aggregate: the deltas of all generator processes, added up, and as a series of seconds."""

from collections import Counter

from attrs import define, field, frozen
from hdrh.histogram import HdrHistogram

from squire_gatherings._load.checks.findings import Violation
from squire_gatherings._load.checks.incarnation import Dispersal
from squire_gatherings._load.distributions import Latency, add_encoded, histogram
from squire_gatherings._load.process.delta import Delta

SETTLED_AFTER = 2
"""Seconds after which no process reports any more about a second."""


@frozen(kw_only=True)
class Second:
    """What happened in one second, and how it stood at its end."""

    at: int
    """Seconds since the start, of its beginning."""

    connected: int
    alive: int
    ops: int
    forwards: int
    synced: Latency | None
    forward: Latency | None
    cpu: float
    """CPU share of the busiest generator process."""


@define
class _OpenSecond:
    ops: int = 0
    forwards: int = 0
    synced: HdrHistogram = field(factory=histogram)
    forward: HdrHistogram = field(factory=histogram)
    cpu: dict[int, float] = field(factory=dict)
    wall: dict[int, float] = field(factory=dict)
    connected: int = 0
    alive: int = 0


@define
class Aggregate:
    """Everything so far."""

    processes: int
    counts: Counter[str] = field(factory=Counter)
    synced: HdrHistogram = field(factory=histogram)
    forward: HdrHistogram = field(factory=histogram)
    lag: HdrHistogram = field(factory=histogram)
    seconds: list[Second] = field(factory=list)
    dispersals: list[Dispersal] = field(factory=list)
    violations: list[Violation] = field(factory=list)
    latest: dict[int, Delta] = field(factory=dict)
    at: float = 0.0
    first_op_at: float | None = None
    last_op_at: float = 0.0
    recent: Second | None = None
    """The last whole second."""
    own: Counter[str] = field(factory=Counter)
    """Kinds of violation that the judging process found itself."""
    _open: dict[int, _OpenSecond] = field(factory=dict)

    def add(self, delta: Delta) -> None:
        """Add what one process reports."""
        self.latest[delta.process] = delta
        self.at = max(self.at, delta.at)
        self.counts.update(delta.counts)
        self.dispersals.extend(delta.dispersals)
        self.violations.extend(delta.violations)
        add_encoded(self.synced, delta.synced)
        add_encoded(self.forward, delta.forward)
        add_encoded(self.lag, delta.lag)
        if delta.counts["sent"]:
            if self.first_op_at is None:
                self.first_op_at = max(0.0, delta.at - delta.wall)
            self.last_op_at = max(self.last_op_at, delta.at)
        number = int(max(0.0, delta.at - delta.wall / 2))
        second = self._open.setdefault(number, _OpenSecond())
        add_encoded(second.synced, delta.synced)
        add_encoded(second.forward, delta.forward)
        second.ops += delta.counts["synced"]
        second.forwards += delta.counts["forwards"]
        process = delta.process
        second.cpu[process] = second.cpu.get(process, 0.0) + delta.cpu
        second.wall[process] = second.wall.get(process, 0.0) + delta.wall
        second.connected, second.alive = self.connected, self.alive
        self._close_seconds(before=int(self.at) - SETTLED_AFTER)

    def found(self, violation: Violation) -> None:
        """Add a violation that no generator can see."""
        self.violations.append(violation)
        self.own[violation.kind] += 1

    def finish(self) -> None:
        """No more deltas come."""
        self._close_seconds(before=int(self.at) + 1)
        self.violations.sort(key=lambda violation: violation.at)

    def _close_seconds(self, *, before: int) -> None:
        for number in sorted(number for number in self._open if number < before):
            one = self._open.pop(number)
            shares = [one.cpu[p] / one.wall[p] for p in one.cpu if one.wall[p] > 0]
            self.recent = Second(
                at=number,
                connected=one.connected,
                alive=one.alive,
                ops=one.ops,
                forwards=one.forwards,
                synced=Latency.of(one.synced),
                forward=Latency.of(one.forward),
                cpu=max(shares, default=0.0),
            )
            self.seconds.append(self.recent)

    @property
    def connected(self) -> int:
        """How many clients are joined."""
        return sum(delta.connected for delta in self.latest.values())

    @property
    def opening(self) -> int:
        """How many connections are being made."""
        return sum(delta.opening for delta in self.latest.values())

    @property
    def alive(self) -> int:
        """How many gatherings have somebody in them."""
        return sum(delta.alive for delta in self.latest.values())

    @property
    def unchecked(self) -> int:
        """How many gatherings were alive when the watch over them ended."""
        return sum(delta.ends_unchecked for delta in self.latest.values())

    @property
    def kinds(self) -> dict[str, int]:
        """How many violations of each kind there are."""
        kinds = Counter(self.own)
        for delta in self.latest.values():
            kinds.update(delta.violation_kinds)
        return dict(kinds.most_common())

    @property
    def idle_timeout(self) -> float | None:
        """What the server said that it is."""
        return next((d.idle_timeout for d in self.latest.values() if d.idle_timeout), None)

    def has_reached(self, *phases: str) -> bool:
        """Whether every process is in one of these phases."""
        there = [delta.phase in phases for delta in self.latest.values()]
        return len(there) == self.processes and all(there)

    def joins_done(self, *, first: bool) -> float | None:
        """When the first clients of all gatherings had joined, or everybody; None: not yet."""
        times = [
            delta.first_joins_done if first else delta.all_joins_done
            for delta in self.latest.values()
        ]
        done = [time for time in times if time is not None]
        return max(done) if len(done) == self.processes else None
