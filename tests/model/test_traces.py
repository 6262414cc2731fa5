"""What clients saw of real halls, in stories at random, is something that the model can do."""

import random
from collections.abc import Sequence

import pytest

from tests.model.traces import Event, TooMany, model_for, unexplained
from tests.schedules.explore import tell_all
from tests.schedules.plans import ANNA_IS_IN
from tests.schedules.stories import Moment, Plan
from tests.support import examples

EVENTS = (
    "anna says", "anna says", "anna is cut", "anna joins", "bob joins", "bob says", "bob is cut",
    "a commit ends", "a commit ends", "a commit fails", "a commit seems to fail",
    "the deadline strikes", "the program ends it", "it is to sleep",
)  # fmt: skip
"""What the model knows, too."""

MOMENTS: tuple[Moment, ...] = (0, 1, 2, None)


def random_plan(chance: random.Random) -> Plan:
    some = [(chance.choice(EVENTS), chance.choice(MOMENTS)) for _ in range(chance.randint(2, 8))]
    return (ANNA_IS_IN, *some)


def explain(trace: Sequence[Event], plan: Plan) -> int | None:
    names = [name for name, _ in plan]
    failures = names.count("a commit fails") + names.count("a commit seems to fail")
    model = model_for(trace, failures=failures, ends=names.count("the program ends it"))
    return unexplained(model, trace)


def test_the_model_explains_what_clients_saw() -> None:
    too_many = 0
    for seed in range(examples(1)):
        chance = random.Random(f"traces {seed}")
        plans = [random_plan(chance) for _ in range(6)]
        _, traces = tell_all(plans, seed)
        for plan, trace in zip(plans, traces, strict=True):
            try:
                place = explain(trace, plan)
            except TooMany:
                too_many += 1
            else:
                assert place is None, f"{plan}: {trace}, not after {place}"
    assert too_many < 3 * examples(1)


SEEN: list[Event] = [
    ("in", 0), ("says", 0, 0), ("in", 1), ("acked", 0, 0, 1), ("says", 1, 0), ("acked", 1, 0, 2),
    ("gone", 0), ("gone", 1),
]  # fmt: skip


def test_a_trace_is_explained() -> None:
    assert explain(SEEN, ()) is None


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ([*SEEN[:3], ("acked", 0, 0, 2), *SEEN[4:]], 3),
        ([SEEN[0], ("acked", 0, 0, 1), SEEN[1]], 1),
        ([*SEEN[:6], ("acked", 1, 0, 2)], 6),
        ([*SEEN[:5], ("acked", 1, 0, 1)], 5),
        ([*SEEN[:3], ("gone", 0), ("gone", 1), ("acked", 0, 0, 1)], 3),
        ([*SEEN[:6], ("gone", 0), ("says", 1, 1), ("acked", 1, 1, 3)], 6),
        ([("in", 0), ("in", 0)], 1),
        ([("says", 0, 0)], 0),
    ],
    ids=["another seq", "nothing asked", "twice", "a seq of another", "an end before the answer",
         "only one is told", "in twice", "not in"],
)  # fmt: skip
def test_what_cannot_be_is_found(wrong: list[Event], place: int) -> None:
    assert explain(wrong, ()) == place
