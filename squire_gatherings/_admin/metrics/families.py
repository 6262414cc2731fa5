"""Families: numbers that belong together, as Prometheus has them."""

from collections.abc import Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from squire_gatherings._rules.histogram import Histogram, PowerHistogram


def counter(name: str, text: str, value: float) -> Metric:
    """Return a number that only grows."""
    return CounterMetricFamily(name, text, value=value)


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a number that may fall."""
    return GaugeMetricFamily(name, text, value=value)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return numbers that only grow, each with its value of a label."""
    family = CounterMetricFamily(name, text, labels=(label,))
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return numbers that may fall, each with its value of a label."""
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family


def histogram(name: str, text: str, values: Histogram | PowerHistogram) -> Metric:
    """Return how often something had which size."""
    return HistogramMetricFamily(name, text, buckets=buckets(values), sum_value=values.total)


def buckets(values: Histogram | PowerHistogram, *, at_once: int = 0) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them; `at_once` more values were about 0."""
    return [
        ("+Inf" if bound == float("inf") else str(bound), count + at_once)
        for bound, count in values.cumulative()
    ]
