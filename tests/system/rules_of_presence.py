"""Rules about presence: clients ask who is here, and say how they are shown."""

from hypothesis import strategies as st

from tests.system.rule import people, rule, strangers
from tests.system.world import World

numbers = st.integers(0, 3)


@rule(weight=3, one=strangers, number=numbers)
async def stranger_is_present(world: World, one: int, number: int) -> None:
    await world.strangers[one].present(number)


@rule(weight=3, one=people, number=numbers)
async def person_is_present(world: World, one: int, number: int) -> None:
    world.people[one].present(number)
