"""Histograms: how often something had which size. Plain numbers, which cost little to add to."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Buckets for durations: from what one message costs to what nobody wants to wait for."""

LIFETIMES = (1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0)
"""Buckets for what lasts from a second to a week."""

POWERS = 17
"""The largest bound of a histogram by powers of two is below the power of this number."""

MOST_BITS = 64
"""How many bits a value has at most that such a histogram counts."""


@define(eq=False)
class Histogram:
    """Counts values by buckets. A bucket has the values up to its bound, and above the last one."""

    bounds: Sequence[float] = SECONDS
    """In ascending order. Above the last one is a bucket for all that is greater."""
    counts: list[int] = field(init=False)
    """How many values each bucket has."""
    total: float = 0.0
    """The sum of all values."""

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity last, and how many values are not greater."""
        return _cumulative((*self.bounds, math.inf), self.counts)


@define(eq=False)
class PowerHistogram:
    """Counts whole numbers from 0 on by how many bits they have: it is cheapest to add to."""

    counts: list[int] = field(factory=lambda: [0] * (MOST_BITS + 1))
    """How many values have so many bits."""
    total: int = 0
    """The sum of all values."""

    def add(self, value: int) -> None:
        """Count a value."""
        self.counts[value.bit_length()] += 1
        self.total += value

    @classmethod
    def of(cls, values: Mapping[int, int]) -> "PowerHistogram":
        """Return the histogram of values, of each of which there are so many."""
        made = cls()
        for value, count in values.items():
            made.counts[value.bit_length()] += count
            made.total += value * count
        return made

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity last, and how many values are not greater."""
        bounds = [float(2**bits - 1) for bits in range(POWERS + 1)]
        counts = [*self.counts[: len(bounds)], sum(self.counts[len(bounds) :])]
        return _cumulative((*bounds, math.inf), counts)


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> Iterator[tuple[float, int]]:
    so_far = 0
    for bound, count in zip(bounds, counts, strict=True):
        so_far += count
        yield bound, so_far
