"""Aggregate, memory and page: figures add up, and what is shown is escaped."""

import pytest
from attrs import evolve

from squire_gatherings._load.checks.findings import Violation
from squire_gatherings._load.checks.incarnation import Dispersal
from squire_gatherings._load.checks.memory import FLOOR, Memory, costs
from squire_gatherings._load.clients.counters import Counters
from squire_gatherings._load.coordinator.aggregate import Aggregate
from squire_gatherings._load.distributions import Latency, histogram, percentile_curve
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.process.delta import Delta, DeltaMaker
from tests.load.running import SMALL

MIB = 1024 * 1024


def delta(counters: Counters, process: int, at: float, **gauges: object) -> Delta:
    defaults: dict[str, object] = {
        "phase": "loading",
        "connected": 1,
        "alive": 1,
        "opening": 0,
        "first_joins_done": None,
        "all_joins_done": None,
        "idle_timeout": 1.0,
    }
    return DeltaMaker(counters).take(process=process, at=at, **{**defaults, **gauges})


def test_deltas_of_several_processes_add_up() -> None:
    aggregate = Aggregate(2)
    all_counters = [Counters(), Counters()]
    for number in range(1, 11):
        for process, counters in enumerate(all_counters):
            counters.counts["sent"] += 1
            counters.counts["synced"] += 3
            counters.synced_us.extend([1000 * number, 2000 * number, 3000 * number])
            counters.dispersals.append(Dispersal(number / 2, 0.001, 0.0))
            one = delta(counters, process, number / 2)
            one.wall = 0.5
            aggregate.add(one)
    aggregate.finish()
    assert aggregate.counts["synced"] == 60
    assert (aggregate.connected, aggregate.alive) == (2, 2)
    assert [second.at for second in aggregate.seconds] == [0, 1, 2, 3, 4]
    assert [second.ops for second in aggregate.seconds] == [12] * 5
    assert len(aggregate.dispersals) == 20
    latency = Latency.of(aggregate.synced)
    assert latency is not None
    assert latency.count == 60
    assert latency.max == pytest.approx(30, rel=1e-3)


def test_phases_and_joins_are_those_of_all_processes() -> None:
    aggregate = Aggregate(2)
    aggregate.add(delta(Counters(), 0, 1.0, phase="settled", first_joins_done=0.4))
    assert not aggregate.has_reached("settled")
    assert aggregate.joins_done(first=True) is None
    aggregate.add(delta(Counters(), 1, 1.0, phase="done", first_joins_done=0.6))
    assert aggregate.has_reached("settled", "done")
    assert not aggregate.has_reached("done")
    assert aggregate.joins_done(first=True) == 0.6


def test_violations_are_counted_beyond_those_that_are_told() -> None:
    counters = Counters()
    for _ in range(500):
        counters.found(Violation("gap", "x", 0.0))
    counters.found(Violation("early", "y", 0.0))
    aggregate = Aggregate(1)
    aggregate.add(delta(counters, 0, 1.0))
    assert aggregate.kinds == {"gap": 500, "early": 1}
    assert [one.kind for one in aggregate.violations[-2:]] == ["gap", "early"]
    assert len(aggregate.violations) < 300


def test_percentiles() -> None:
    exact = Latency.of_exact([float(value) for value in range(1, 1001)])
    assert exact == Latency(1000, 500.0, 900.0, 990.0, 999.0, 1000.0)
    assert Latency.of_exact([]) is None
    counted = histogram()
    assert percentile_curve(counted) == []
    for value in range(1, 1001):
        counted.record_value(value * 1000)
    points = percentile_curve(counted)
    assert points == sorted(points)
    assert points[-1][0] >= 99.8


def test_costs_are_two_equations() -> None:
    plan: Plan = evolve(SMALL, gatherings=1000, clients=5)
    gathering, connection = 10_000, 8_000
    first = 1000 * (gathering + connection)
    everybody = first + 4000 * connection
    assert costs(plan, MIB, MIB + first, MIB + everybody) == (gathering, connection)
    assert costs(plan, MIB, None, MIB + everybody) == (None, None)
    assert costs(SMALL, MIB, MIB + first, MIB + everybody) == (None, None)


@pytest.mark.parametrize(
    ("again", "came_back"),
    [(None, True), (100 * MIB, True), (100 * MIB + FLOOR + 6 * MIB, True), (160 * MIB, False)],
)
def test_a_second_crowd_needs_the_memory_of_the_first(again: int | None, came_back: bool) -> None:
    memory = Memory(
        start=40 * MIB,
        peak=100 * MIB,
        end=100 * MIB,
        again=again,
        per_gathering=None,
        per_connection=None,
    )
    assert memory.came_back is came_back
