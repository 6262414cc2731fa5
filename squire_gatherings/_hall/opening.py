"""Opening: finds the living incarnation of a gathering, or opens one, for whoever asks for it."""

from collections.abc import Hashable

import trio

from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.reports import report_birth
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.running import run
from squire_gatherings._hall.taking_up import inherit, take
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringsError, HallClosed
from squire_gatherings._values.ids import new_incarnation_id


async def find(registry: Registry, gathering_id: str, opener: Hashable = None) -> Room:
    """Return the living incarnation of a gathering; open one if there is none.

    Waits first for the end of one that is dispersing. There's no checkpoint between the last
    look at the incarnation and the return.

    Args:
        gathering_id: Which gathering.
        opener: A gathering that is opened counts as this one's; None where that isn't known.

    Raises:
        Full: One would have to be opened, and there are too many, or there's no memory for it.
        HallClosed: The hall is closing.
        StoreUnavailable: It had to be restored, and the store couldn't.
        GatheringCrashed: It had to be restored, and its behaviour failed.
        OwnedElsewhere: Another node has it.
        TakenAway: Another node has just taken it.

    Cancellation: an opening that this call began is given up.
    """
    while True:
        if registry.closed:
            raise HallClosed("the hall is closed")
        await registry.wait_moved(gathering_id)
        incarnation = registry.awake(gathering_id)
        if gathering_id in registry.kept_out:
            await registry.kept_out[gathering_id].wait()
        elif incarnation is None:
            if registry.ownership is not None and registry.quotas.is_full():
                # For one that another node has, nobody makes room.
                await registry.ownership.check_elsewhere(gathering_id)
                if gathering_id in registry.living or gathering_id in registry.kept_out:
                    continue
            registry.quotas.check_opening(gathering_id, opener)
            if registry.lifecycle is not None:
                registry.lifecycle.check_opening(registry.quotas, gathering_id)
            if registry.quotas.is_full():
                await _evict_stalest(registry, registry.quotas.stalest())
            else:
                await _open(registry, gathering_id, opener)
        elif incarnation.room.accepting:
            if not incarnation.room.is_resting:
                return incarnation.room
            await incarnation.wait_awake()
        elif not incarnation.opened:
            await incarnation.wait_opened()
            if incarnation.error is not None:
                raise type(incarnation.error)(*incarnation.error.args) from incarnation.error
        else:
            await incarnation.wait_gone()


async def _evict_stalest(registry: Registry, gathering_id: str) -> None:
    """End one to which nobody is connected, or wait until another node has it."""
    if gathering_id in registry.moving:
        registry.quotas.unattended(gathering_id)
        await registry.wait_moved(gathering_id)
        return
    stalest = registry.awake(gathering_id)
    assert stalest is not None
    stalest.room.end(DispersalReason.EVICTED)
    await stalest.wait_gone()


async def _open(registry: Registry, gathering_id: str, opener: Hashable) -> None:
    incarnation_id = new_incarnation_id(registry.endings.mark)
    await start(registry, registry.make(gathering_id, opener, incarnation_id, registry.given))


async def start(registry: Registry, incarnation: Incarnation) -> None:
    """Have the task of an incarnation restore it. Raises, and is cancelled, as `find`.

    Trio moves the task out of this call only if this call isn't cancelled yet. So the task
    looks for that when it is restored, and isn't opened then: it would live on under a scope
    that is cancelled already, and tell whoever came at that moment `shutdown`.
    """
    room = incarnation.room
    try:
        with trio.CancelScope() as incarnation.opening:
            if registry.ownership is not None and not await _owns(registry, incarnation):
                return
            await registry.nursery.start(run, incarnation.gathering, name=room.id)
        if incarnation.opening.cancelled_caught:
            raise HallClosed("the hall was closed")
    except GatheringsError as error:
        incarnation.error = error
        registry.quotas.tally.failed_restores += 1
        raise
    else:
        if incarnation.gathering.inheritance is None:
            # One that another process has begun was opened there.
            registry.opened += 1
            report_birth(room)
        if registry.closed:
            room.end(DispersalReason.SHUTDOWN)
    finally:
        # All who wait for this opening look again, also when it was cancelled.
        incarnation.opened = True
        incarnation.opening = None
        incarnation.tell()


async def _owns(registry: Registry, incarnation: Incarnation) -> bool:
    """Own the gathering of an incarnation that is to be opened; raises as `find`.

    Returns:
        Whether it is to be opened. Not so where another one sleeps, which goes on here.
    """
    assert registry.ownership is not None
    gathering_id = incarnation.room.id
    try:
        estate = await registry.ownership.claim(gathering_id)
    except BaseException:
        # It may be ours, and something may be left of it.
        registry.ownership.is_in_doubt = True
        _forget(registry, incarnation)
        raise
    if estate is not None and estate.slept is not None:
        _forget(registry, incarnation)
        inherit(registry, [estate])
        return False
    if estate is not None:
        take(registry, estate)
    return True


def _forget(registry: Registry, incarnation: Incarnation) -> None:
    incarnation.room.is_kept = True
    registry.reap(incarnation.room.id)
