"""The counters of one generator process: what its clients count, and the violations they find."""

from squire_gatherings._load.checks.findings import Violation
from squire_gatherings._load.checks.incarnation import Dispersal

MAX_VIOLATIONS = 200
"""How many violations of one process are told in full; all are counted."""

COUNTED = (
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


class Counters:
    """Counts since the last report; the hot paths add to its attributes directly."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        """How many violations of each kind there are, since the start."""
        self._told = 0
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a report."""
        self.counts = dict.fromkeys(COUNTED, 0)
        self.dispersals: list[Dispersal] = []
        self.violations: list[Violation] = []
        """Those that are told in full."""
        self.synced_us: list[int] = []
        """Microseconds from the moment that an op was due to its `synced`."""
        self.forward_us: list[int] = []
        """Microseconds from the moment that an op was due to each of its forwards."""
        self.lag_us: list[int] = []
        """Microseconds from the moment that an op was due to its sending."""

    def found(self, violation: Violation) -> None:
        """Count a violation."""
        self.kinds[violation.kind] = self.kinds.get(violation.kind, 0) + 1
        # Each kind is told at least a few times, however many there are of another.
        if self._told < MAX_VIOLATIONS or self.kinds[violation.kind] <= 3:
            self._told += 1
            self.violations.append(violation)
