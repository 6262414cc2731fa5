"""Moves: a hall goes on in another one, with its connections, as if that were another process."""

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import msgspec
import trio

from squire_gatherings import Hall, open_hall
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.moving import (
    NotAtRest,
    arrive,
    hall_state,
    leave,
    room_state,
    rooms,
)
from squire_gatherings._hall.store import Store
from squire_gatherings._values.handover import HallState, RoomState
from squire_gatherings._values.settings import HallSettings

States = tuple[HallState, list[RoomState]]
_DECODER = msgspec.msgpack.Decoder(States)


async def states_of(hall: Hall, numbers: Mapping[Connection, int]) -> States:
    """Wait until all is at rest, and return where it is then, as it comes out of a message."""
    while True:
        try:
            found = (
                hall_state(hall),
                [room_state(hall, one, numbers.get, 0.0) for one in rooms(hall)],
            )
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
) -> tuple[Hall, dict[Connection, Membership]]:
    """Go on in a new hall; return it, and the memberships there.

    Args:
        stack: Closes the new hall.
        hall: The hall; it's closed.
        store: The store of both.
        settings: The new hall's.
        connected: All connections and their memberships.
        wall_clock: The new hall's.
    """
    numbers = {connection: number for number, connection in enumerate(connected, start=1)}
    state, inside = await states_of(hall, numbers)
    after = await stack.enter_async_context(
        open_hall(store=store, settings=settings, wall_clock=wall_clock)
    )
    arriving = await arrive(after, state, inside, 0.0)
    leave(hall)
    theirs = {number: connection for connection, number in numbers.items()}
    memberships = arriving.begin(theirs)
    for membership in connected.values():
        # As when the connection's task ends, which says nothing.
        membership.detach()
    await hall.close()
    return after, {theirs[number]: one for number, one in memberships.items()}
