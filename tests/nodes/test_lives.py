"""Whole lives on three nodes at random: what must hold whatever happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings.testing._nodes import NodeStore
from tests.nodes.broken import (
    BrokenMemory,
    ChecksOutside,
    EndlessLease,
    ForgetsWhoSleeps,
    NoFence,
    TakesTheLiving,
)
from tests.nodes.lives import CLIENTS, NODES, ROOMS, Step, live
from tests.nodes.truth import Broken
from tests.support import examples

WHATS = (
    ["wait"] * 4 + ["join"] * 3 + ["sync"] * 4 + ["submit"] * 2 + ["fetch"] * 2
    + ["evict", "disperse", "hold", "move", "move", "drain", "late beat"]
    + ["cut", "pause", "heal", "heal", "kill", "leave", "start", "start"]
)  # fmt: skip

STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(WHATS),
        st.integers(0, NODES - 1),
        st.integers(0, CLIENTS - 1),
        st.integers(0, len(ROOMS) - 1),
        st.sampled_from([0.05, 0.5, 1.0, 3.0, 6.0, 12.0]),
    ),
    min_size=30,
    max_size=60,
)


@settings(max_examples=examples(15, long=40), deadline=None)
@given(STEPS)
def test_whatever_happens(steps: list[Step]) -> None:
    live(steps)


FENCED = [
    Step("join", 0, 0),
    Step("wait", seconds=1.0),
    Step("pause", 0),
    # It is on its way when the node is stopped.
    Step("sync", 0, 0),
    Step("wait", seconds=12.0),
    Step("join", 1, 2),
    Step("wait", seconds=0.5),
    Step("heal", 0),
    Step("wait", seconds=0.5),
    Step("sync", 1, 2),
    Step("wait", seconds=3.0),
]
SLOW = [
    Step("join", 0, 0),
    Step("wait", seconds=1.0),
    # Each append takes eight seconds after the look at whose the gathering is.
    Step("sync", 0, 0),
    Step("late beat", 0, seconds=12.0),
    Step("wait", seconds=6.5),
    Step("join", 1, 2),
    Step("wait", seconds=3.0),
    Step("sync", 1, 2),
    Step("wait", seconds=12.0),
]
READ_LATE = [
    Step("join", 0, 0),
    Step("sync", 0, 0),
    Step("pause", 0),
    Step("wait", seconds=12.0),
    Step("submit", 1),
    Step("fetch", 0),
    Step("wait", seconds=1.0),
]
TAKEN = [Step("join", 0, 0), Step("submit", 0), Step("submit", 1), Step("fetch", 0)]
ASLEEP = [
    Step("submit", 0),
    Step("evict", 0),
    Step("wait", seconds=1.0),
    Step("kill", 0),
]
FOUND: dict[type[NodeStore], list[Step]] = {
    NoFence: FENCED,
    ChecksOutside: SLOW,
    EndlessLease: READ_LATE,
    TakesTheLiving: TAKEN,
    ForgetsWhoSleeps: ASLEEP,
}


@pytest.mark.parametrize("kind", FOUND, ids=lambda one: one.__name__)
def test_a_broken_store_is_found(kind: type[NodeStore]) -> None:
    steps = FOUND[kind]
    live(steps)
    with pytest.raises(ExceptionGroup) as info:
        live(steps, BrokenMemory(kind=kind))
    assert info.group_contains(Broken)
