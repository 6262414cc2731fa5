"""Moves: a hall goes on in another one, with its connections, as if that were another process."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import msgspec
import trio

from squire_gatherings import Hall, open_hall
from squire_gatherings._hall.arriving import Arriving
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.moving import (
    NotAtRest,
    Telling,
    check_rest,
    hall_state,
    leave,
    rooms,
    rooms_so_far,
)
from squire_gatherings._hall.store import Store
from squire_gatherings._values.handover import HallState, RoomState
from squire_gatherings._values.settings import HallSettings

States = tuple[HallState, list[RoomState], list[str]]
_DECODER = msgspec.msgpack.Decoder(States)
_ROOMS = msgspec.msgpack.Decoder(list[RoomState])


async def states_of(hall: Hall, telling: Telling) -> States:
    """Wait until all is at rest, and return where it is then, as it comes out of a message."""
    while True:
        try:
            inside = rooms(hall)
            state = hall_state(hall)
            for one in inside:
                check_rest(one)
            told = [telling.state(one, 0.0, at_rest=True) for one in telling.changed(inside)]
            found = state, told, telling.ended(inside)
        except NotAtRest:
            await trio.sleep(0.001)
        else:
            again: States = _DECODER.decode(msgspec.msgpack.encode(found))
            return again


async def move(
    stack: AsyncExitStack,
    hall: Hall,
    store: Store,
    settings: HallSettings,
    connected: Mapping[Connection, Membership],
    wall_clock: Callable[[], float] = time.time,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> tuple[Hall, dict[Connection, Membership]]:
    """Go on in a new hall; return it, and the memberships there.

    Args:
        stack: Closes the new hall.
        hall: The hall; it's closed.
        store: The store of both.
        settings: The new hall's.
        connected: All connections and their memberships.
        wall_clock: The new hall's.
        meanwhile: Is done in the hall after the new one was told where it is.
    """
    numbers = {connection: number for number, connection in enumerate(connected, start=1)}
    theirs = {number: connection for connection, number in numbers.items()}
    telling, memberships = Telling(hall, numbers.get), dict[int, Membership]()
    after = await stack.enter_async_context(
        open_hall(store=store, settings=settings, wall_clock=wall_clock)
    )
    arriving = Arriving(after)
    if meanwhile is not None:
        told = [telling.state(one, 0.0, at_rest=False) for one in rooms_so_far(hall)]
        said: list[RoomState] = _ROOMS.decode(msgspec.msgpack.encode(told))
        memberships |= await arriving.follow(said, [], theirs, 0.0)
        await meanwhile()
    state, inside, ended = await states_of(hall, telling)
    memberships |= await arriving.follow(inside, ended, theirs, 0.0)
    arriving.check()
    leave(hall)
    arriving.begin(state)
    for membership in connected.values():
        # As when the connection's task ends, which says nothing.
        membership.detach()
    await hall.close()
    return after, {theirs[number]: one for number, one in memberships.items()}
