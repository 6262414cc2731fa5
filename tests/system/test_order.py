"""The order of tasks: hypothesis' seed decides it, so that what it finds can be found again.

Trio shuffles the tasks of each turn by a `Random` of its own. pytest-trio registers that with
hypothesis (`register_random`, a public call) and has Trio use it alone; `random_module()` then
draws its seed for each example. So nothing of ours touches Trio's private parts.
"""

import random

import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

TASKS = 6


def order_of_tasks() -> tuple[int, ...]:
    """Return the order in which tasks run that were woken at once."""
    found: list[int] = []

    async def one(number: int) -> None:
        await trio.lowlevel.checkpoint()
        found.append(number)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(one, number)

    trio.run(all_of_them)
    return tuple(found)


def test_a_seed_is_an_order() -> None:
    orders: dict[int, set[tuple[int, ...]]] = {}

    @settings(max_examples=100, database=None, phases=[Phase.generate])
    @given(st.random_module())
    def look(seed: object) -> None:
        # The first number that a seed draws tells which seed it is.
        mark = random.getrandbits(64)
        orders.setdefault(mark, set()).add(order_of_tasks())

    look()
    look()
    assert all(len(found) == 1 for found in orders.values()), "the same seed, the same order"
    assert len(set.union(*orders.values())) > 20, "another seed, another order"
