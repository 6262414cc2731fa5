"""Plans: every process derives the same plan, and nothing happens in lock-step."""

import pytest
from attrs import evolve

from squire_gatherings._load.plan import Plan
from tests.load.running import SMALL

PLAN = evolve(SMALL, gatherings=100, clients=5, ramp=4.0, rate=1.0, duration=10.0, slow_readers=40)


def test_first_clients_join_before_all_others() -> None:
    first = [PLAN.joins_at(g, 0) for g in range(100)]
    others = [PLAN.joins_at(g, k) for g in range(100) for k in range(1, 5)]
    assert 0 == min(first) < max(first) < min(others) < max(others) < PLAN.ramp
    assert len(set(others)) == 400


@pytest.mark.parametrize("rate", [0.1, 1.0, 3.0, 50.0])
def test_ops_come_evenly(rate: float) -> None:
    plan: Plan = evolve(PLAN, rate=rate, duration=20.0)
    interval = 1 / rate
    phases = sorted((plan.op_due(g, 0) - plan.ramp) % interval for g in range(100))
    gaps = [b - a for a, b in zip(phases, [*phases[1:], interval], strict=True)]
    assert max(gaps) <= 0.1 * interval + 1e-9
    assert plan.op_due(99, plan.ops_per_gathering - 1) <= plan.load_ends


def test_choices_depend_on_the_seed_only() -> None:
    again: Plan = evolve(PLAN, run="other", port=1)
    assert PLAN.slow_clients() == again.slow_clients()
    assert PLAN.slow_clients() != evolve(PLAN, seed=2).slow_clients()
    assert len(PLAN.slow_clients()) == 40
    assert all(1 <= client < 5 for _, client in PLAN.slow_clients())
    assert len(PLAN.idle_gatherings()) == 25
    assert len(evolve(PLAN, rate=0.0).idle_gatherings()) == 100
