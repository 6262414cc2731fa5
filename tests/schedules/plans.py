"""Plans: all orders in which the events of a story may happen, and how far the hall gets between.

Events are given in *lanes*: those of one lane happen in this order, and what the lanes have to do
with each other is open.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

from tests.schedules.stories import Moment, Plan, Story

Lanes = tuple[tuple[str, ...], ...]

ANNA_IS_IN: tuple[str, Moment] = ("anna joins", None)

MOMENTS: tuple[Moment, ...] = (0, 1, None)

STORIES: dict[str, Lanes] = {
    "a message and the deadline": (("anna says", "a commit ends"), ("the deadline strikes",)),
    "a message, a join and the end": (("anna says",), ("bob joins",), ("the program ends it",)),
    "a join that is given up": (
        ("bob joins", "bob gives up"),
        ("anna says", "a commit ends"),
    ),
    "a commit that fails, and the deadline": (
        ("anna says", "a commit fails", "half a second passes", "a commit ends"),
        ("the deadline strikes",),
    ),
    "a join, a message and a commit that seems to fail": (
        ("anna says", "a commit seems to fail", "half a second passes", "a commit ends"),
        ("bob joins",),
    ),
    "a join and the deadline": (("bob joins",), ("the deadline strikes",), ("anna leaves",)),
    "a sleep and a message": (("it is to sleep",), ("anna says", "a commit ends"), ("bob joins",)),
    "a sleep and the deadline": (("it is to sleep",), ("the deadline strikes",), ("bob joins",)),
    "a crash": (("anna crashes it",), ("anna says",), ("bob joins", "bob says")),
    "who is put out": (("bob joins", "bob says"), ("bob is put out",), ("a commit ends",)),
    "a connection that is lost, and another": (
        ("anna says", "anna is cut"),
        ("anna joins",),
        ("the deadline strikes",),
    ),
}
"""What each of them is about."""


def orders(lanes: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield all orders of the events that leave each lane as it is."""
    if not any(lanes):
        yield ()
    for number, lane in enumerate(lanes):
        if lane:
            rest = [*lanes[:number], lane[1:], *lanes[number + 1 :]]
            for order in orders(rest):
                yield (lane[0], *order)


def plans(lanes: Lanes, moments: Sequence[Moment] = MOMENTS) -> Iterator[Plan]:
    """Yield all plans of a story, in which Anna is there from the beginning.

    After the last event there is no moment to choose.
    """
    for order in orders(lanes):
        for after in product(moments, repeat=len(order) - 1):
            yield (ANNA_IS_IN, *zip(order, (*after, None), strict=True))


def random_plan(chance: Random, most: int = 12) -> Plan:
    """Return a plan of any events."""
    names = [*Story.EVENTS]
    length = chance.randint(2, most)
    moments: tuple[Moment, ...] = (0, 0, 1, 2, 3, None)
    plan = [(chance.choice(names), chance.choice(moments)) for _ in range(length)]
    if chance.random() < 0.75:
        plan.insert(0, ANNA_IS_IN)
    return tuple(plan)
