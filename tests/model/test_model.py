"""The small configurations hold, and each planted fault is found."""

import attrs
import pytest

from tests.model.checker import check
from tests.model.configurations import SMALL
from tests.model.steps import Nodes
from tests.model.world import Budget

FAULTS: dict[str, tuple[Nodes, str]] = {
    "acknowledges before it is durable": (Nodes(clients=1), "acknowledged, and not durable"),
    "forgets completed syncs": (
        Nodes(clients=1, budget=Budget(crashes=1)),
        "a sync is applied twice",
    ),
    "ends a tick too early": (Nodes(clients=1), "it ends too early"),
    "ends with messages unread": (
        Nodes(clients=1),
        "it ends, and somebody has said something",
    ),
    "drops the inbox at the end": (
        Nodes(budget=Budget(booms=1)),
        "an end, and it wasn't told",
    ),
    "a retry of ours counts": (
        Nodes(clients=1, budget=Budget(failures=2)),
        "it doesn't know when it was used",
    ),
    "falls asleep at work": (
        Nodes(clients=1, budget=Budget(failures=1, sleeps=1)),
        "a request that is never answered, or twice",
    ),
    "lets in who has gone": (
        Nodes(clients=1, budget=Budget(cuts=1)),
        "lets in who has gone",
    ),
    "processes what was said before a revocation": (
        Nodes(clients=1, budget=Budget(revocations=1)),
        "an op of somebody without rights is applied",
    ),
    "a sleeper's time begins anew": (
        Nodes(places=2, clients=1, budget=Budget(crashes=1, sleeps=1)),
        "it doesn't know when it was used",
    ),
    "claims what another has": (
        Nodes(places=2, clients=1, budget=Budget(cuts=1)),
        "two nodes show the same gathering",
    ),
    "declares the living dead": (
        Nodes(places=2, clients=1, budget=Budget(silences=1, cuts=1)),
        "two nodes show the same gathering",
    ),
    "counts from the answer": (
        Nodes(places=2, clients=1, budget=Budget(silences=1, cuts=1)),
        "two nodes show the same gathering",
    ),
    "shows beyond its lease": (
        Nodes(places=2, clients=1, budget=Budget(silences=1, cuts=1)),
        "two nodes show the same gathering",
    ),
    "takes any append": (
        Nodes(places=2, clients=1, budget=Budget(silences=1)),
        "a sync is applied twice",
    ),
    "the dead inherit": (
        Nodes(places=2, clients=1, budget=Budget(silences=2, sleeps=1)),
        "it is in, and nobody knows",
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_all_states_are_right(name: str) -> None:
    result = check(SMALL[name])
    assert result.fault is None, str(result.fault)
    assert result.is_complete


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str) -> None:
    model, what = FAULTS[name]
    result = check(attrs.evolve(model, faults=frozenset({name})), most=100_000)
    assert result.fault is not None
    assert result.fault.what.startswith(what), str(result.fault)
