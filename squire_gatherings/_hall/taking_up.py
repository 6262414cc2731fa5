"""Taking up: a registry goes on with what an earlier process, or another node, has left."""

from collections.abc import Collection, Hashable

from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.registry import Registry
from squire_gatherings._values.claims import Estate
from squire_gatherings._values.sleep import Slept, shifted


def take_up(registry: Registry, slept: Collection[Slept]) -> None:
    """Go on with those that slept when an earlier process ended."""
    if not slept:
        return
    ahead = -registry.sleepers.clock_ahead()
    newest: dict[str, Slept] = {}
    for one in sorted(slept, key=lambda one: one.state.opened_at):
        older = newest.get(one.gathering)
        if older is not None and registry.book is not None:
            # A loss of power has brought it back.
            registry.book.strike(older.state.incarnation)
        newest[one.gathering] = one
    alike: dict[Hashable, GivenRules] = {}
    for one in newest.values():
        given = given_to(registry, one, alike)
        state = shifted(one.state, ahead)
        registry.living[one.gathering] = registry.sleepers.take_up(one.gathering, state, given)
        registry.quotas.opened(state.opener)
        registry.quotas.unattended(one.gathering)


def given_to(registry: Registry, slept: Slept, alike: dict[Hashable, GivenRules]) -> GivenRules:
    """Return the rules of one that slept: one object for all that have the same."""
    given = GivenRules.of(slept)
    if given == registry.given:
        return registry.given
    return alike.setdefault(given.key, given)


def inherit(registry: Registry, estates: Collection[Estate]) -> None:
    """Go on with what other nodes have left of gatherings that are ours now.

    One that is just being opened is left to that, which finds the same.
    """
    assert registry.ownership is not None
    new = [one for one in estates if one.gathering not in registry.living]
    new = [one for one in new if not registry.ownership.has_taken(one.gathering)]
    take_up(registry, [one.slept for one in new if one.slept is not None])
    for one in new:
        take(registry, one)
        if one.slept is None:
            registry.ownership.release(one.gathering)


def take(registry: Registry, estate: Estate) -> None:
    """Note that a gathering is ours, and tell what was lost with the node that had it."""
    assert registry.ownership is not None
    if estate.lost is not None and registry.lifecycle is not None:
        registry.lifecycle.lost(estate.lost)
    registry.ownership.took(estate.gathering)
