"""The smallest stories in every order, and some at random."""

import logging
from collections.abc import Iterator

import pytest

from tests.mutants.running import Outcome, run
from tests.schedules.explore import AtRandom, explore, tell_once
from tests.schedules.plans import STORIES, orders, plans
from tests.support import examples

SMALL = ("a message and the deadline", "a join and the deadline")
ALL = 1000
"""None of their plans has so many orders."""


@pytest.fixture(autouse=True)
def _no_logs() -> Iterator[None]:
    """Behaviours that crash are part of the stories."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", SMALL)
def test_a_story_in_every_order(name: str) -> None:
    explored = [explore(plan, most=ALL) for plan in plans(STORIES[name])]
    assert all(one.is_complete for one in explored)


def test_each_story_in_some_order() -> None:
    for number, lanes in enumerate(STORIES.values()):
        for plan in [*plans(lanes)][:: 40 if examples(1) == 1 else 1]:
            tell_once(plan, number)


def test_plans_at_random() -> None:
    at_random = AtRandom()
    for seed in range(examples(16)):
        at_random.tell(seed)
    assert at_random.told == examples(16) * len(at_random.plans_of(0))


def test_a_fault_is_found() -> None:
    found = run(
        "a commit that fails throws the answers away",
        ("schedules/test_schedules.py::test_plans_at_random",),
        seconds=60,
    )
    assert found.outcome is Outcome.KILLED


def test_lanes_keep_their_order() -> None:
    found = [*orders((("a", "b"), ("c",)))]
    assert sorted(found) == [("a", "b", "c"), ("a", "c", "b"), ("c", "a", "b")]
