"""A rule: what may happen in a world, and how often. A new one is a function with `@rule`.

Each argument is drawn from the strategy of its name. A rule does one thing to the world and waits
only where it says so; the watchers check what must hold afterwards.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from hypothesis import strategies as st

from tests.system.book import KINDS
from tests.system.setup import ROOMS
from tests.system.world import World

Act = Callable[..., Awaitable[None]]


@frozen
class Rule:
    """An event that may happen."""

    act: Act
    arguments: dict[str, st.SearchStrategy[Any]]
    weight: int


RULES: dict[str, Rule] = {}


def rule(weight: int = 1, **arguments: st.SearchStrategy[Any]) -> Callable[[Act], Act]:
    """Let this event happen, `weight` times as often as others."""

    def add(act: Act) -> Act:
        RULES[act.__name__] = Rule(act, arguments, weight)
        return act

    return add


@frozen
class Step:
    """One event, after a pause."""

    pause: str
    rule: str
    arguments: dict[str, Any]

    async def act(self, world: World) -> None:
        await RULES[self.rule].act(world, **self.arguments)


strangers = st.integers(0, 3)
people = st.integers(0, 2)
rooms = st.sampled_from(ROOMS)
kinds = st.one_of(
    st.lists(st.just("plain"), min_size=1, max_size=3),
    st.lists(st.sampled_from(("plain", "merge", "strict")), min_size=1, max_size=3),
    st.sampled_from(KINDS).map(lambda kind: [kind]),
    st.lists(st.sampled_from(KINDS), min_size=2, max_size=3),
)
waits = st.sampled_from([0.1, 0.25, 0.5, 1.0, 4.9, 5.0, 9.0, 15.0, 20.0, 20.1, 45.0])
links = st.integers(0, 5)
