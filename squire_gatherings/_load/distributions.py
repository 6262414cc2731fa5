"""Distributions of times: histograms that can be sent and added up, and their percentiles."""

import math

from attrs import frozen
from hdrh.histogram import HdrHistogram

HIGHEST = 60_000_000
DIGITS = 3
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def histogram() -> HdrHistogram:
    """Return an empty histogram of microseconds, exact to three digits, up to a minute."""
    return HdrHistogram(1, HIGHEST, DIGITS)


def encode_histogram(microseconds: list[int]) -> bytes:
    """Return the histogram of these values, as `add_encoded` reads it."""
    if not microseconds:
        return b""
    counted = histogram()
    for value in microseconds:
        counted.record_value(min(max(value, 1), HIGHEST))
    encoded: bytes = counted.encode()
    return encoded


def add_encoded(into: HdrHistogram, encoded: bytes) -> None:
    """Add an encoded histogram to another."""
    if encoded:
        into.decode_and_add(encoded)


@frozen
class Latency:
    """A distribution in milliseconds; None where nothing was measured."""

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, counted: HdrHistogram) -> "Latency | None":
        """Read it off a histogram of microseconds."""
        count = counted.get_total_count()
        if not count:
            return None
        points = counted.get_percentile_to_value_dict(PERCENTILES)
        p50, p90, p99, p999 = (points[percentile] / 1000 for percentile in PERCENTILES)
        return cls(count, p50, p90, p99, p999, counted.get_max_value() / 1000)

    @classmethod
    def of_exact(cls, milliseconds: list[float]) -> "Latency | None":
        """Return the distribution of a list of exact values (nearest rank)."""
        if not milliseconds:
            return None
        ordered = sorted(milliseconds)
        count = len(ordered)
        p50, p90, p99, p999 = (ordered[max(0, math.ceil(count * p / 100) - 1)] for p in PERCENTILES)
        return cls(count, p50, p90, p99, p999, ordered[-1])


def percentile_curve(counted: HdrHistogram) -> list[tuple[float, float]]:
    """Return (percentile, milliseconds), ever finer towards 100 as far as there are values."""
    count = counted.get_total_count()
    percentiles, left = [], 1.0
    while count * left >= 1:
        percentiles.append(100 * (1 - left))
        left *= 0.8
    points = counted.get_percentile_to_value_dict(percentiles) if percentiles else {}
    return [(percentile, value / 1000) for percentile, value in points.items()]
