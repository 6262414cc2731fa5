"""The outcome: what a load test saw, before it is made into a report."""

from attrs import define, field

from squire_gatherings._load.checks.memory import Memory
from squire_gatherings._load.coordinator.aggregate import Aggregate
from squire_gatherings._load.plan import Plan


@define
class Outcome:
    """Everything that the generator processes reported, and what only the coordinator sees."""

    plan: Plan
    aggregate: Aggregate
    memory: Memory | None = None
    memory_samples: list[tuple[float, int]] = field(factory=list)
    """(Seconds since the start, bytes)."""

    server_cpu: float | None = None
    """The server's CPU share while there was a load."""

    ended_at: float = 0.0
    """When all gatherings had ended, in seconds since the start; the audit follows."""

    interrupted: bool = False
