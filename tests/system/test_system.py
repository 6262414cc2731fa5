"""The whole system at random: a hall, its store, its server, our client and other clients."""

import gc

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import examples
from tests.system.plans import plans, setups
from tests.system.rule import Step
from tests.system.setup import Setup
from tests.system.truth import Fault
from tests.system.world import World

EXAMPLES = 75 if examples(1) == 1 else 250
"""In `make test-long`, 10,000."""


def live(setup: Setup, plan: list[Step]) -> World:
    """Have a world follow a plan; raise `Fault` if a check fails."""
    world = World(setup)
    # A world looks for what it has left behind; what was there before needn't be looked at.
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        # With a low `CROWD`, two clients are a crowd, which the hall serves one after the other.
        patch.setattr("squire_gatherings._hall.delivery.CROWD", setup.crowd)
        trio.run(world.run, plan, clock=world.clock, instruments=[world.lives])
    gc.unfreeze()
    if world.truth.faults:
        raise Fault("\n".join(world.truth.faults[:5]))
    return world


@settings(
    max_examples=examples(EXAMPLES),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(setups, plans(), st.random_module())
def test_whatever_happens(setup: Setup, plan: list[Step], order: object) -> None:
    """`order` seeds Trio's order of tasks, too (see `test_order`)."""
    live(setup, plan)
