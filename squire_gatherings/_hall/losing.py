"""Losing: what a hall does when other nodes have its gatherings, or may have them."""

from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.ids import new_hall_mark


def lose_all(registry: Registry) -> None:
    """End all gatherings here with reason `moved`: others tell what becomes of them.

    What the hall opens from now on has another mark.
    """
    for gathering_id, one in tuple(registry.living.items()):
        if isinstance(one, Sleeper):
            # It goes on there.
            registry.sleepers.part(one, CloseCode.MOVED, "moved")
            del registry.living[gathering_id]
            registry.sleepers.drop(one)
        else:
            one.room.is_kept = True
            one.room.end(DispersalReason.MOVED)
            one.room.inbox.wake()
    registry.endings.mark = new_hall_mark()


def go_on(registry: Registry) -> None:
    """Have all go on that weren't certain whether they are ours."""
    if registry.ownership is not None:
        registry.ownership.regained()
    for one in registry.living.values():
        if isinstance(one, Incarnation):
            one.room.inbox.wake()
