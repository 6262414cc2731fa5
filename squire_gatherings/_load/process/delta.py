"""The delta: what a generator process reports twice a second, as a line of JSON."""

import time

import msgspec

from squire_gatherings._load.checks.findings import Violation
from squire_gatherings._load.checks.incarnation import Dispersal
from squire_gatherings._load.clients.counters import Counters
from squire_gatherings._load.distributions import encode_histogram


class Delta(msgspec.Struct):
    """What one process did since its last delta, and how it stands. Times in seconds."""

    process: int
    phase: str
    """`loading`, `settled` (all gatherings have ended), `done` (the audit is over)."""

    at: float
    """Seconds since the start."""

    wall: float
    """Seconds since the last delta."""

    cpu: float
    """Seconds of CPU time since the last delta."""

    connected: int
    """How many clients have joined."""

    alive: int
    """How many gatherings they are in."""

    opening: int
    """How many connections are being made."""

    first_joins_done: float | None
    """When the last of the gatherings' first clients had joined; None: not yet."""

    all_joins_done: float | None
    """When the last of all clients had joined; None: not yet."""

    counts: dict[str, int]
    synced: bytes
    """An encoded histogram (us): from the moment that an op was due to its `synced`."""

    forward: bytes
    """The same, but to each of its forwards."""

    lag: bytes
    """The same, but to its sending: how far the process was behind its schedule."""

    dispersals: list[Dispersal]
    violations: list[Violation]
    violation_kinds: dict[str, int]
    """How many there are of each kind, since the start."""

    idle_timeout: float | None
    ends_unchecked: int = 0
    """How many gatherings were still alive when this process stopped watching."""


class DeltaMaker:
    """Makes deltas of what was counted."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def take(self, **gauges: object) -> Delta:
        """Return what was counted since the last time, and begin anew.

        Args:
            gauges: All other fields of the delta.
        """
        counters = self._counters
        wall, cpu = time.monotonic(), time.process_time()
        delta = Delta(
            wall=wall - self._wall,
            cpu=cpu - self._cpu,
            counts=counters.counts,
            synced=encode_histogram(counters.synced_us),
            forward=encode_histogram(counters.forward_us),
            lag=encode_histogram(counters.lag_us),
            dispersals=counters.dispersals,
            violations=counters.violations,
            violation_kinds=dict(counters.kinds),
            **gauges,  # type: ignore[arg-type]
        )
        self._wall, self._cpu = wall, cpu
        counters.reset()
        return delta
