"""Histograms count each value once, in the bucket where it belongs."""

import math

from hypothesis import given
from hypothesis import strategies as st

from squire_gatherings._rules.histogram import POWERS, SECONDS, Histogram, PowerHistogram


@given(st.lists(st.floats(0, 100) | st.sampled_from(SECONDS)))
def test_a_bucket_has_what_is_not_greater_than_its_bound(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert [bound for bound, _ in histogram.cumulative()] == [*SECONDS, math.inf]
    for bound, count in histogram.cumulative():
        assert count == sum(value <= bound for value in values)
    assert histogram.total == sum(values)


@given(st.lists(st.integers(0, 2**60) | st.integers(0, 70)))
def test_powers_of_two_count_the_same(values: list[int]) -> None:
    histogram, inline = PowerHistogram(), PowerHistogram()
    for value in values:
        histogram.add(value)
        inline.counts[value.bit_length()] += 1
        inline.total += value
    for bound, count in histogram.cumulative():
        assert count == sum(value <= bound for value in values)
    assert histogram.total == sum(values)
    assert list(inline.cumulative()) == list(histogram.cumulative())
    assert len(list(histogram.cumulative())) == POWERS + 2
