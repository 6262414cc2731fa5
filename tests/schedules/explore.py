"""Exploring: a plan in all orders of Trio's tasks, and many plans at random."""

import random
from functools import partial
from itertools import count

import trio
from attrs import define, frozen
from trio.testing import MockClock

from tests.model.traces import Event
from tests.schedules.orders import Batches, Tree, run_seeded, seed_for
from tests.schedules.plans import random_plan
from tests.schedules.stories import Plan, tell

TOGETHER = 16
"""So many random plans are told in one hall, with one seed."""


class Found(AssertionError):
    """Something doesn't hold; `what` says in which plan and with which seed."""


@frozen
class Explored:
    """How many runs of a plan there are that aren't alike, and whether these are all."""

    runs: int
    is_complete: bool


def tell_all(plans: list[Plan], seed: int) -> tuple[Batches, list[list[Event]]]:
    """Tell plans in the order that a seed decides. Raises `Found`.

    Returns:
        The orders, and what clients saw in each.
    """
    traces: list[list[Event]] = []

    def story(batches: Batches) -> None:
        clock = MockClock()
        try:
            them = partial(tell, plans, clock, batches)
            traces.extend(trio.run(them, clock=clock, instruments=[batches]))
        except BaseException as error:
            raise Found(f"seed {seed}, among {plans}") from error

    return run_seeded(seed, story), traces


def tell_once(plan: Plan, seed: int) -> Batches:
    """Tell a plan in the order that a seed decides. Raises `Found`."""
    return tell_all([plan], seed)[0]


def explore(plan: Plan, *, most: int) -> Explored:
    """Tell a plan in all orders, or until that took so many runs. Raises `Found`."""
    tree, before = Tree(), list[int]()
    seeds = count()
    for _ in range(most):
        missing = tree.missing()
        seed = None if missing is None else seed_for(before, missing, seeds)
        if seed is None:
            break
        batches = tell_once(plan, seed)
        before = batches.before
        tree.add(batches.orders)
    return Explored(tree.leaves(), tree.is_complete)


@define
class AtRandom:
    """Plans at random: seed after seed."""

    told: int = 0

    @staticmethod
    def plans_of(seed: int) -> list[Plan]:
        """Return the plans of one seed."""
        chance = random.Random(f"plans {seed}")
        return [random_plan(chance) for _ in range(TOGETHER)]

    def tell(self, seed: int) -> None:
        """Tell the plans of one seed. Raises `Found`."""
        some = self.plans_of(seed)
        tell_all(some, seed)
        self.told += len(some)
