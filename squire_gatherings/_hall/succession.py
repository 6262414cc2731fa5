"""Succession: how a registry takes over the gatherings that another process has (`arriving`)."""

from collections.abc import Hashable

from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.life import Life, LifeState
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.taking_up import given_to
from squire_gatherings._values.end_rules import rules_with
from squire_gatherings._values.handover import HallState, RoomState
from squire_gatherings._values.sleep import Rules, Slept


def adopt(registry: Registry, inheritance: Inheritance, given: GivenRules) -> Incarnation:
    """Have an incarnation here that lives in another process; `start` restores it.

    Args:
        inheritance: What it goes on with.
        given: Its rules.
    """
    state = inheritance.state
    incarnation = registry.make(state.id, state.opener, state.incarnation, given, inheritance)
    incarnation.room.is_moved = True
    return incarnation


def adopt_sleeper(registry: Registry, slept: Slept, alike: dict[Hashable, GivenRules]) -> Sleeper:
    """Have one here that sleeps in another process. Nothing is done for it before it is ours.

    Args:
        slept: What is remembered of it, with instants of our clock.
        alike: Rules by which others sleep; more may be added.
    """
    given = given_to(registry, slept, alike)
    sleeper = registry.sleepers.adopt(slept.gathering, slept.state, given)
    registry.living[slept.gathering] = sleeper
    registry.quotas.opened(slept.state.opener)
    return sleeper


async def drop(registry: Registry, incarnation: Incarnation) -> None:
    """Forget one that another process has: nobody is told.

    Cancellation: it is forgotten soon.
    """
    room = incarnation.room
    for client in tuple(room.clients.values()):
        room.detach(client)
    room.nursery.cancel_scope.cancel()
    await incarnation.wait_gone()


def drop_sleeper(registry: Registry, sleeper: Sleeper) -> None:
    """Forget one that sleeps in another process."""
    room = sleeper.room
    for client in sleeper.clients:
        room.detach(client)
    registry.quotas.reaped(sleeper.id, registry.opener_of(sleeper.id))
    del registry.living[sleeper.id]


def claim(registry: Registry, incarnation: Incarnation, life: LifeState | None) -> None:
    """Note that an incarnation that another process had is ours from now on."""
    room = incarnation.room
    room.is_moved = False
    if registry.lifecycle is not None and life is not None:
        room.life = Life.resumed(registry.lifecycle, room.id, room.incarnation, life)


def resume(registry: Registry, state: HallState, rights: Rights) -> None:
    """Go on for another process."""
    registry.endings.resume(state.mark, state.endings)
    for gathering, scope, sync_id in state.poison:
        registry.poison.remember(gathering, [(scope, sync_id)])
    rights.overrides.resume(state.revoked, state.roles)
    rights.resume(state.rights_count, state.rights_forgotten, state.rights_changed)
    registry.opened = state.opened
    registry.ended.update(state.ended)


def given_by(registry: Registry, base: Rules | None) -> GivenRules:
    """Return the rules that all were given in another process that don't say."""
    rules = registry.given.base if base is None else rules_with(base)
    return registry.given if rules == registry.given.base else GivenRules(rules)


def given_in(state: RoomState, others: GivenRules) -> GivenRules:
    """Return the rules that an incarnation was given in another process.

    `others` are those of all that don't say.
    """
    if state.rules is None and not state.changes:
        return others
    base = others.base if state.rules is None else rules_with(state.rules)
    return GivenRules(base, changes=dict(state.changes))
