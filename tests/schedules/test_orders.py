"""What is told of Trio's orders is so: they are foreseen, and a tree that is complete has all."""

import random
from itertools import permutations

import trio
from trio.testing import MockClock

from tests.schedules.explore import tell_once
from tests.schedules.orders import Batches, Tree, run_seeded, seed_for, shuffled
from tests.schedules.stories import Plan
from tests.support import examples


def batches_of(seed: int, tasks: int = 3) -> Batches:
    async def one() -> None:
        await trio.lowlevel.checkpoint()

    async def story(batches: Batches) -> None:
        batches.watch()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(one)

    def told(batches: Batches) -> None:
        trio.run(story, batches, clock=MockClock(), instruments=[batches])

    return run_seeded(seed, told)


def test_a_seed_says_the_orders() -> None:
    """`run_seeded` raises otherwise."""
    found = {tuple(batches_of(seed).orders) for seed in range(examples(50))}
    assert len(found) > 5


def test_a_seed_is_found_for_each_order() -> None:
    before = batches_of(0).before
    for order in permutations(range(3)):
        seed = seed_for(before, [order], iter(range(10_000)))
        assert seed is not None
        assert batches_of(seed).orders[0] == order


def test_a_tree_is_complete_once_it_has_all_orders() -> None:
    tree = Tree()
    ways = [[one, two] for one in permutations(range(3)) for two in permutations(range(2))]
    for number, way in enumerate(ways):
        assert not tree.is_complete
        missing = tree.missing()
        assert missing is not None
        assert not any(one[: len(missing)] == missing for one in ways[:number] if missing)
        assert tree.add(way)
        assert not tree.add(way)
    assert tree.is_complete
    assert tree.missing() is None
    assert tree.leaves() == len(ways)


def test_a_shuffle_has_all_tasks() -> None:
    assert sorted(shuffled(5, random.Random(1))) == [0, 1, 2, 3, 4]


def test_a_plan_is_told_alike_with_the_same_seed() -> None:
    plan: Plan = (("anna joins", None), ("bob joins", 1), ("the program ends it", None))
    assert tell_once(plan, 7).orders == tell_once(plan, 7).orders
