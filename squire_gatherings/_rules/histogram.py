"""A histogram: how often something had which size. Plain numbers, which cost little to add to."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from attrs import define, field

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Buckets for durations: from what one message costs to what nobody wants to wait for."""

COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
"""Buckets for how many there were of something."""


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

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity last, and how many values are not greater."""
        so_far = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            so_far += count
            yield bound, so_far
