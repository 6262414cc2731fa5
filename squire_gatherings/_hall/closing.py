"""Closing: gatherings end, or fall asleep, because somebody says so; and all, with their hall."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from squire_gatherings._hall.incarnations import Incarnation, crowd_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import HallClosed

AT_ONCE = 1000
"""So many are closed before others get their turn."""


async def end(registry: Registry, gathering_id: str, reason: DispersalReason) -> bool:
    """Disperse a gathering, and wait until it is gone; return whether it was there.

    Cancellation: it goes on dispersing.
    """
    await registry.wait_moved(gathering_id)
    incarnation = registry.awake(gathering_id)
    if incarnation is None:
        return False
    await incarnation.wait_opened()
    incarnation.room.end(reason)
    await incarnation.wait_gone()
    return True


@asynccontextmanager
async def keeping_out(registry: Registry, gathering_id: str) -> AsyncIterator[None]:
    """Disperse a gathering, with reason `admin`, and let nobody open it within the block.

    Raises:
        HallClosed: The hall is closing.

    Cancellation: it goes on dispersing, and may be opened again.
    """
    while gathering_id in registry.kept_out:
        await registry.kept_out[gathering_id].wait()
    if registry.closed:
        raise HallClosed("the hall is closed")
    over = registry.kept_out[gathering_id] = trio.Event()
    try:
        await end(registry, gathering_id, DispersalReason.ADMIN)
        yield
    finally:
        del registry.kept_out[gathering_id]
        over.set()


async def put_to_sleep(registry: Registry, gathering_id: str, *, keeps_connections: bool) -> bool:
    """Have a gathering fall asleep. As `Hall.evict`."""
    one = registry.living.get(gathering_id)
    if isinstance(one, Incarnation):
        await one.wait_opened()
        one = registry.living.get(gathering_id)
    if one is None or not (isinstance(one, Sleeper) or one.room.accepting):
        return False
    if not keeps_connections:
        for client in tuple(crowd_of(one).people()):
            if client.room is not None:
                client.room.gone(client)
                client.close(CloseCode.GOING_AWAY, "evicted")
    if isinstance(one, Incarnation):
        await one.wait_asleep()
    return isinstance(registry.living.get(gathering_id), Sleeper)


async def close_all(registry: Registry, by: float) -> None:
    """End all gatherings of a hall. What is still being processed at the time `by` is cancelled.

    Cancellation: they go on ending by themselves, after what they are processing.
    """
    registry.close_by(by)
    with trio.move_on_at(by):
        for number, gathering_id in enumerate(tuple(registry.living), start=1):
            registry.close_one(gathering_id, by)
            if not number % AT_ONCE:
                await trio.lowlevel.checkpoint()
        while registry.living:
            incarnation = registry.awake(next(iter(registry.living)))
            assert incarnation is not None
            await incarnation.wait_opened()
            incarnation.room.end(DispersalReason.SHUTDOWN, by=by)
            await incarnation.wait_gone()
    registry.nursery.cancel_scope.cancel()
    registry.give_up()
    while registry.living:
        incarnation = registry.awake(next(iter(registry.living)))
        assert incarnation is not None
        await incarnation.wait_gone()
