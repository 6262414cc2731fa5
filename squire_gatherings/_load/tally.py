"""The tally: what a generator process counts, and sends on as a delta twice a second."""

import time

import msgspec
from hdrh.histogram import HdrHistogram

from squire_gatherings._load.findings import Violation

HIGHEST = 60_000_000
DIGITS = 3
MAX_VIOLATIONS = 200
"""How many violations of one process are told in full; all are counted."""

COUNTERS = (
    "joins",
    "leaves",
    "sent",
    "synced",
    "forwards",
    "repeats",
    "acks",
    "notices",
    "dispersed",
    "slow_closed",
    "audited",
)


def histogram() -> HdrHistogram:
    """Return an empty histogram of microseconds, exact to three digits, up to a minute."""
    return HdrHistogram(1, HIGHEST, DIGITS)


class Dispersal(msgspec.Struct, frozen=True, array_like=True):
    """One gathering's end: when (seconds since the start), and how late by either clock."""

    at: float
    late: float
    server_late: float


class Delta(msgspec.Struct):
    """What one generator did since its last delta, and how it stands."""

    process: int
    phase: str
    """`loading`, `settled` (all have ended), `done` (everybody is there again)."""

    at: float
    """Seconds since the start."""

    wall: float
    """Seconds since the last delta."""

    cpu: float
    """CPU seconds since the last delta."""

    connected: int
    alive: int
    opening: int
    """Gauges: onlookers that have joined; gatherings they are in; connections being made."""

    first_joins_done: float | None
    all_joins_done: float | None
    """When the last of the gatherings' first onlookers, and of all onlookers, had joined."""

    counts: dict[str, int]
    synced: bytes
    forward: bytes
    lag: bytes
    """Histograms, encoded: sync to `synced`, sync to forward, behind schedule (us)."""

    dispersals: list[Dispersal]
    violations: list[Violation]
    violation_kinds: dict[str, int]
    idle_timeout: float | None
    ends_unchecked: int = 0
    """How many gatherings were still alive when we stopped watching."""


class Tally:
    """Counts since the last delta; the hot paths add to its attributes directly."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.dispersals: list[Dispersal] = []
        self.synced_us: list[int] = []
        self.forward_us: list[int] = []
        self.lag_us: list[int] = []
        self.violations: list[Violation] = []
        self.kinds: dict[str, int] = {}
        self._told = 0
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def found(self, violation: Violation) -> None:
        """A violation was found."""
        self.kinds[violation.kind] = self.kinds.get(violation.kind, 0) + 1
        # Each kind is told at least a few times, however many there are of another.
        if self._told < MAX_VIOLATIONS or self.kinds[violation.kind] <= 3:
            self._told += 1
            self.violations.append(violation)

    def take(self, **gauges: object) -> Delta:
        """Return what was counted, and begin anew."""
        wall, cpu = time.monotonic(), time.process_time()
        delta = Delta(
            wall=wall - self._wall,
            cpu=cpu - self._cpu,
            counts=self.counts,
            synced=_encode(self.synced_us),
            forward=_encode(self.forward_us),
            lag=_encode(self.lag_us),
            dispersals=self.dispersals,
            violations=self.violations,
            violation_kinds=dict(self.kinds),
            **gauges,  # type: ignore[arg-type]
        )
        self._wall, self._cpu = wall, cpu
        self.counts = dict.fromkeys(COUNTERS, 0)
        self.dispersals = []
        self.violations = []
        self.synced_us, self.forward_us, self.lag_us = [], [], []
        return delta


def _encode(microseconds: list[int]) -> bytes:
    if not microseconds:
        return b""
    counted = histogram()
    for value in microseconds:
        counted.record_value(min(max(value, 1), HIGHEST))
    encoded: bytes = counted.encode()
    return encoded


def merge(into: HdrHistogram, encoded: bytes) -> None:
    """Add an encoded histogram to another."""
    if encoded:
        into.decode_and_add(encoded)
