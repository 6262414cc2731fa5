"""Moves: a hall goes on in another one, with its connections, as if that were another process."""

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import msgspec
import trio

from squire_gatherings import Hall
from squire_gatherings._hall.arriving import Arriving
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.moving import (
    Living,
    NotAtRest,
    Telling,
    check_rest,
    hall_state,
    leave,
    living,
    living_so_far,
)
from squire_gatherings._hall.parts import events_of
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import Store
from squire_gatherings._handover.messages import Changes
from squire_gatherings._open_hall import open_successor
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._values.handover import HallState
from squire_gatherings._values.settings import HallSettings

States = tuple[HallState, Changes]
_DECODER = msgspec.msgpack.Decoder(States)
PATIENCE = 5.0
"""How many seconds a delivery of lifecycle events may take that is under way."""

_CHANGES = msgspec.msgpack.Decoder(Changes)


def changes(telling: Telling, inside: list[Living], *, at_rest: bool) -> Changes:
    """Return where these gatherings are, as far as the other process doesn't know it.

    Raises:
        NotAtRest: One of them isn't `at_rest`.
    """
    for one in inside if at_rest else ():
        if not isinstance(one, Sleeper):
            check_rest(one)
    found = Changes([], base=telling.base())
    for one in telling.changed(inside):
        if isinstance(one, Sleeper):
            found.asleep.append(telling.sleeper(one, 0.0, at_rest=at_rest))
        else:
            found.rooms.append(telling.state(one, 0.0, at_rest=at_rest))
    found.ended.extend(telling.ended(inside))
    return found


async def states_of(hall: Hall, telling: Telling) -> States:
    """Wait until all is at rest, and return where it is then, as it comes out of a message."""
    while True:
        try:
            inside = living(hall)
            state = hall_state(hall)
            found = state, changes(telling, inside, at_rest=True)
        except NotAtRest:
            await trio.sleep(0.001)
        else:
            again: States = _DECODER.decode(msgspec.msgpack.encode(found))
            return again


class Move:
    """The way of a hall into another one, which follows it until `finish`."""

    def __init__(self, hall: Hall, after: Hall) -> None:
        self.hall, self.after = hall, after
        self._last = 0
        self._numbers: dict[Connection, int] = {}
        self._theirs: dict[int, Connection] = {}
        self._telling = Telling(hall, self._numbers.get)
        self._arriving = Arriving(after)
        self._memberships: dict[int, Membership] = {}

    async def tell(self, connected: Mapping[Connection, Membership]) -> None:
        """A round: have the other hall be where this one is by now."""
        self._number(connected)
        told = changes(self._telling, living_so_far(self.hall), at_rest=False)
        await self._follow(_CHANGES.decode(msgspec.msgpack.encode(told)))
        await self._arriving.prepare()

    async def finish(
        self, connected: Mapping[Connection, Membership]
    ) -> dict[Connection, Membership]:
        """Go on in the other hall; return the memberships there. The first one is closed."""
        self._number(connected)
        events = events_of(self.hall)
        async with AsyncExitStack() as stack:
            if events is not None:
                await stack.enter_async_context(events.paused(PATIENCE))
            state, said = await states_of(self.hall, self._telling)
            await self._follow(said)
            self._arriving.check()
            leave(self.hall)
            self._arriving.begin(state)
        for membership in connected.values():
            # As when the connection's task ends, which says nothing.
            membership.detach()
        await self.hall.close()
        theirs, memberships = self._theirs, self._memberships
        return {one: memberships[n] for n, one in theirs.items() if n in memberships}

    def _number(self, connected: Mapping[Connection, Membership]) -> None:
        for one in self._numbers.keys() - connected.keys():
            del self._theirs[self._numbers.pop(one)]
        for one in connected:
            if one not in self._numbers:
                self._last += 1
                self._numbers[one] = self._last
                self._theirs[self._last] = one

    async def _follow(self, said: Changes) -> None:
        self._memberships |= await self._arriving.follow(
            said.rooms, said.asleep, said.ended, self._theirs, 0.0, said.base
        )


async def move(
    stack: AsyncExitStack,
    hall: Hall,
    store: Store,
    settings: HallSettings,
    connected: Mapping[Connection, Membership],
    wall_clock: Callable[[], float] = time.time,
    behaviour: Callable[[], Behaviour] = LogBehaviour,
) -> tuple[Hall, dict[Connection, Membership]]:
    """Go on in a new hall; return it, and the memberships there.

    Args:
        stack: Closes the new hall.
        hall: The hall; it's closed.
        store: The store of both.
        settings: The new hall's.
        connected: All connections and their memberships.
        wall_clock: The new hall's.
        behaviour: The new hall's.
    """
    opened = open_successor(
        store=store, settings=settings, wall_clock=wall_clock, behaviour=behaviour
    )
    after = await stack.enter_async_context(opened)
    return after, await Move(hall, after).finish(connected)
