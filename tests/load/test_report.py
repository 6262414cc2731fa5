"""Totals, memory and page: figures add up, and what is shown is escaped."""

import pytest
from attrs import evolve

from squire_gatherings._load.findings import Violation
from squire_gatherings._load.memory import FLOOR, Memory, costs
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.tally import Delta, Dispersal, Tally, histogram
from squire_gatherings._load.totals import Latency, Totals, curve, spread
from tests.load.running import SMALL

MIB = 1024 * 1024


def delta(tally: Tally, process: int, at: float, **gauges: object) -> Delta:
    defaults: dict[str, object] = {
        "phase": "loading",
        "connected": 1,
        "alive": 1,
        "opening": 0,
        "first_joins_done": None,
        "all_joins_done": None,
        "idle_timeout": 1.0,
    }
    return tally.take(process=process, at=at, **{**defaults, **gauges})


def test_deltas_of_several_processes_add_up() -> None:
    totals = Totals(2)
    tallies = [Tally(), Tally()]
    for number in range(1, 11):
        for process, tally in enumerate(tallies):
            tally.counts["sent"] += 1
            tally.counts["synced"] += 3
            tally.synced_us.extend([1000 * number, 2000 * number, 3000 * number])
            tally.dispersals.append(Dispersal(number / 2, 0.001, 0.0))
            one = delta(tally, process, number / 2)
            one.wall = 0.5
            totals.add(one)
    totals.finish()
    assert totals.counts["synced"] == 60
    assert (totals.connected, totals.alive) == (2, 2)
    assert [second.at for second in totals.seconds] == [0, 1, 2, 3, 4]
    assert [second.ops for second in totals.seconds] == [12] * 5
    assert len(totals.dispersals) == 20
    latency = Latency.of(totals.synced)
    assert latency is not None
    assert latency.count == 60
    assert latency.max == pytest.approx(30, rel=1e-3)


def test_phases_and_joins_are_those_of_all_processes() -> None:
    totals = Totals(2)
    totals.add(delta(Tally(), 0, 1.0, phase="settled", first_joins_done=0.4))
    assert not totals.has_reached("settled")
    assert totals.joins_done(first=True) is None
    totals.add(delta(Tally(), 1, 1.0, phase="done", first_joins_done=0.6))
    assert totals.has_reached("settled", "done")
    assert not totals.has_reached("done")
    assert totals.joins_done(first=True) == 0.6


def test_violations_are_counted_beyond_those_that_are_told() -> None:
    tally = Tally()
    for _ in range(500):
        tally.found(Violation("gap", "x", 0.0))
    tally.found(Violation("early", "y", 0.0))
    totals = Totals(1)
    totals.add(delta(tally, 0, 1.0))
    assert totals.kinds == {"gap": 500, "early": 1}
    assert [one.kind for one in totals.violations[-2:]] == ["gap", "early"]
    assert len(totals.violations) < 300


def test_percentiles() -> None:
    exact = spread([float(value) for value in range(1, 1001)])
    assert exact == Latency(1000, 500.0, 900.0, 990.0, 999.0, 1000.0)
    assert spread([]) is None
    counted = histogram()
    assert curve(counted) == []
    for value in range(1, 1001):
        counted.record_value(value * 1000)
    points = curve(counted)
    assert points == sorted(points)
    assert points[-1][0] >= 99.8


def test_costs_are_two_equations() -> None:
    plan: Plan = evolve(SMALL, gatherings=1000, onlookers=5)
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
