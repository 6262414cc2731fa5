"""The plan: what a load test does and when; every process derives the same from it."""

import random

from attrs import frozen

LEAST_FIRST_JOINS = 0.2
PAUSE = 0.05
READING = 0.04
OPS_SPREAD = 0.5
"""Shares of the ramp. One client of each gathering joins at first, then the others, with a
pause after each, towards the end of which memory is read. The gatherings begin to submit one
after another over about half a ramp, so that they neither submit nor end in lock-step."""

GOLDEN_RATIO = 0.6180339887498949


@frozen(kw_only=True)
class Plan:
    """One load test. Times and durations are seconds; the run starts at 0."""

    run: str
    """Distinguishes this run's gatherings from all others."""

    host: str
    port: int
    gatherings: int
    clients: int
    """How many clients each gathering has."""

    rate: float
    """Ops a second in each gathering."""

    op_size: int
    duration: float
    ramp: float
    churn: float
    """The share of the clients that leaves and returns each minute."""

    idle_fraction: float
    slow_readers: int
    idle_timeout: float | None
    """What the server was started with; None where only `joined` will tell."""

    retry_interval: float
    patience: float
    seed: int
    processes: int

    @property
    def connections(self) -> int:
        """How many clients there are."""
        return self.gatherings * self.clients

    @property
    def ops_per_gathering(self) -> int:
        """How many ops each gathering that isn't idle gets."""
        return max(1, round(self.rate * self.duration)) if self.rate else 0

    @property
    def load_ends(self) -> float:
        """When the last op has been due."""
        return self.ramp + self._spread + self.duration + (1 / self.rate if self.rate else 0)

    def name(self, gathering: int) -> str:
        """Return a gathering's id."""
        return f"load-{self.run}-{gathering}"

    @property
    def pattern(self) -> str:
        """What all ids of this run match, as `delete` takes it."""
        return f"load-{self.run}-*"

    def joins_at(self, gathering: int, client: int) -> float:
        """Return when a client first connects."""
        first_end = self._first_joins_end
        if client == 0:
            return self.ramp * first_end * gathering / self.gatherings
        others = self.clients - 1
        place = (gathering * others + client - 1) / (self.gatherings * others)
        return self.ramp * (first_end + PAUSE + (1 - 2 * PAUSE - first_end) * place)

    def memory_read_at(self, *, first: bool) -> float:
        """Return when memory is read: one client of each gathering is there, or all are."""
        end = self._first_joins_end if first else 1 - PAUSE
        return self.ramp * (end + READING)

    @property
    def _first_joins_end(self) -> float:
        return (1 - 2 * PAUSE) * max(LEAST_FIRST_JOINS, 1 / self.clients)

    def op_due(self, gathering: int, number: int) -> float:
        """Return when an op of a gathering is due; the first has number 0."""
        # Whole intervals, plus a part of one that is another for each gathering: the
        # multiples of the golden ratio are as evenly spread as can be, however many.
        later = int(self._spread * self.rate * gathering / self.gatherings)
        phase = gathering * GOLDEN_RATIO % 1
        return self.ramp + (later + phase + number) / self.rate

    @property
    def _spread(self) -> float:
        return self.ramp * OPS_SPREAD

    def idle_gatherings(self) -> frozenset[int]:
        """Return the gatherings that get no ops."""
        count = round(self.gatherings * self.idle_fraction)
        if not self.rate:
            count = self.gatherings
        return frozenset(self.random("idle").sample(range(self.gatherings), count))

    def slow_clients(self) -> frozenset[tuple[int, int]]:
        """Return (gathering, client) of the slow readers; never a gathering's first client."""
        others = self.clients - 1
        if not others:
            return frozenset()
        chosen = self.random("slow").sample(range(self.gatherings * others), self.slow_readers)
        return frozenset((place // others, place % others + 1) for place in chosen)

    def random(self, *purpose: object) -> random.Random:
        """Return a source of random numbers of its own for each purpose."""
        return random.Random(repr((self.seed, *purpose)))
