"""Orders: in which order Trio runs the tasks of each turn, as a seed decides.

Trio shuffles the tasks of a turn by a `Random` of its own, which it registers with hypothesis
(`register_random`), so that hypothesis seeds it with each example. `random_module()` draws that
seed, and `fuzz_one_input` takes what is drawn from outside: four bytes are a seed. Python's global
`Random` gets the same seed. So a copy of it shuffles as Trio's will, and tells beforehand in which
order the tasks of each turn will run. `Batches` compares that with what Trio does.
"""

import math
import random
from collections.abc import Callable, Iterator
from itertools import permutations

import trio
from attrs import define, field
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

Order = tuple[int, ...]
"""The tasks of one turn, numbered by age, in the order in which they run."""

MOST_SEEDS = 100_000
"""So many seeds are tried at most to find one for a given order."""


@define(eq=False, slots=False)
class Batches(trio.abc.Instrument):
    """Notes in which order the tasks of each turn run; and whether that is what was foreseen.

    Only turns with more than one task count.
    """

    twin: random.Random
    """Shuffles as Trio will."""
    before: list[int] = field(factory=list)
    """How many tasks the turns had before `watch`."""
    orders: list[Order] = field(factory=list)
    """Of the turns between `watch` and `rest`."""
    is_watching: bool | None = None
    """None before `watch`."""
    _will_watch: bool | None = None
    is_foreseen: bool = True
    """Whether Trio's orders are those that its seed says. An instrument can't raise."""
    _ages: dict[trio.lowlevel.Task, int] = field(factory=dict)
    _batch: list[int] = field(factory=list)

    def watch(self) -> None:
        """Keep the orders from the next turn on."""
        self._will_watch = True

    def rest(self) -> None:
        """Keep them no more, from the next turn on."""
        self._will_watch = False

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Note its age."""
        self._ages[task] = len(self._ages)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note that it runs."""
        self._batch.append(self._ages[task])

    def before_io_wait(self, timeout: float) -> None:
        """A turn is over."""
        self._close()

    def after_run(self) -> None:
        """The last one is."""
        self._close()

    def _close(self) -> None:
        batch, self._batch = self._batch, []
        if len(batch) > 1:
            ranks = {age: rank for rank, age in enumerate(sorted(batch))}
            order = tuple(ranks[age] for age in batch)
            self.is_foreseen = self.is_foreseen and order == shuffled(len(batch), self.twin)
            if self.is_watching is None:
                self.before.append(len(order))
            elif self.is_watching:
                self.orders.append(order)
        self.is_watching = self._will_watch


def shuffled(size: int, chance: random.Random) -> Order:
    """Return the order in which Trio runs so many tasks. It takes them from the end of the list."""
    batch = list(range(size))
    chance.shuffle(batch)
    return tuple(reversed(batch))


def run_seeded(seed: int, story: Callable[[Batches], None]) -> Batches:
    """Call `story`, which runs Trio with the instrument that it is given, and a `MockClock`.

    A `SystemClock` would draw from Trio's `Random`, too.
    """
    found: list[Batches] = []

    @settings(database=None, phases=[Phase.generate], deadline=None)
    @given(st.random_module())
    def example(_: object) -> None:
        twin = random.Random()
        twin.setstate(random.getstate())
        batches = Batches(twin)
        found.append(batches)
        story(batches)

    example.hypothesis.fuzz_one_input(seed.to_bytes(4, "big"))  # type: ignore[attr-defined]
    assert found[0].is_foreseen, "Trio's orders aren't what the seed says"
    return found[0]


# All orders.


@define(eq=False)
class Tree:
    """The orders that were tried: a node for each turn, and an edge for each order of its tasks."""

    size: int | None = None
    """How many tasks the turn had; None where it wasn't seen, 0 for the end of a run."""
    followers: "dict[Order, Tree]" = field(factory=dict)
    is_complete: bool = False

    def add(self, orders: list[Order]) -> bool:
        """Note a run; return whether there was none like it."""
        path = [self]
        is_new = False
        for order in orders:
            node = path[-1]
            assert node.size in (None, len(order)), "the same orders lead to different turns"
            node.size = len(order)
            if order not in node.followers:
                node.followers[order] = Tree()
                is_new = True
            path.append(node.followers[order])
        assert path[-1].size in (None, 0), "the same orders lead to different turns"
        path[-1].size, path[-1].is_complete = 0, True
        for node in reversed(path[:-1]):
            assert node.size is not None
            node.is_complete = len(node.followers) == math.factorial(node.size) and all(
                one.is_complete for one in node.followers.values()
            )
        return is_new

    def missing(self) -> list[Order] | None:
        """Return how a run begins that wasn't tried; None if there is none."""
        begins: list[Order] = []
        node = self
        while node.size:
            for order in permutations(range(node.size)):
                follower = node.followers.get(order)
                if follower is None:
                    return [*begins, order]
                if not follower.is_complete:
                    begins.append(order)
                    node = follower
                    break
            else:
                return None
        return None if node.is_complete else begins

    def leaves(self) -> int:
        """Return how many runs were tried that aren't alike."""
        if not self.followers:
            return 1
        return sum(one.leaves() for one in self.followers.values())


def seed_for(before: list[int], orders: list[Order], seeds: Iterator[int]) -> int | None:
    """Return the first of these seeds with which turns have these orders.

    `before` are the sizes of turns before them, whose orders don't matter.
    """
    chance = random.Random()
    for _, seed in zip(range(MOST_SEEDS), seeds, strict=False):
        chance.seed(seed)
        for size in before:
            shuffled(size, chance)
        if all(shuffled(len(order), chance) == order for order in orders):
            return seed
    return None
