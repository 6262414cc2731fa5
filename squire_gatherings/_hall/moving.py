"""Moving: what a hall leaves to the hall of another process, and how that one goes on with it.

Nothing is changed in the hall that leaves. So it goes on itself where the other one can't.
"""

from collections.abc import Callable, Mapping

import attrs
import trio
from attrs import frozen

from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hall import Hall, parts_of
from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.inheritance import Inheritance, held_state, take_in
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.handover import ClientState, HallState, RoomState
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.outgoing import Outgoing

NumberOf = Callable[[Connection], int | None]
"""Returns the number under which a connection goes along; None if it doesn't."""


class NotAtRest(Exception):
    """Something is under way that can't be left to another process; says what."""


# The hall that leaves.


def hall_state(hall: Hall) -> HallState:
    """Return what a hall knows besides its gatherings.

    Raises:
        NotAtRest: Somebody is being checked, or asks for something.
    """
    registry, rights, _ = parts_of(hall)
    if rights.is_busy or registry.is_keeping_out:
        raise NotAtRest("joins and calls of the program")
    return registry.state(rights)


def rooms(hall: Hall) -> list[Gathering]:
    """Return the gatherings that live.

    Raises:
        NotAtRest: One of them is being opened, or ends.
    """
    registry, _, _ = parts_of(hall)
    found: list[Gathering] = []
    for incarnation in tuple(registry.living.values()):
        if isinstance(incarnation, Sleeper):
            # Until this process can leave them asleep, they are restored before.
            incarnation.rouse().is_called = True
            raise NotAtRest(f"gathering {incarnation.id} slept")
        room = incarnation.room
        if not incarnation.opened or not room.accepting or room.is_resting:
            raise NotAtRest(f"gathering {incarnation.room.id} opens or ends")
        found.append(incarnation.gathering)
    return found


def rooms_so_far(hall: Hall) -> list[Gathering]:
    """Return the gatherings to which somebody may be connected."""
    registry, _, _ = parts_of(hall)
    living = registry.living.values()
    return [
        one.gathering
        for one in living
        if isinstance(one, Incarnation) and one.opened and one.room.accepting
    ]


def check_rest(gathering: Gathering) -> None:
    """Raise `NotAtRest` unless all that was asked of a gathering is done, and durable."""
    work = gathering.at_work()
    if work is not None:
        raise NotAtRest(work)


def room_state(hall: Hall, gathering: Gathering, number_of: NumberOf, ahead: float) -> RoomState:
    """Return what another process needs to go on with a gathering.

    Args:
        hall: The hall that has it.
        gathering: It.
        number_of: Says which connections go along.
        ahead: How many seconds the clock that both have is ahead of Trio's.

    Raises:
        NotAtRest: It isn't at rest.
    """
    check_rest(gathering)
    registry, _, _ = parts_of(hall)
    room = gathering.room
    clients: list[ClientState] = []
    for client in room.clients.values():
        number = number_of(client.connection)
        if number is not None:
            clients.append(_client_state(client, number, ahead))
    given = room.given
    return RoomState(
        room.id,
        room.incarnation,
        room.log.committed,
        registry.opener_of(room.id),
        room.deadline.state(room.moved(), ahead),
        None if given.base is registry.given.base else attrs.asdict(given.base, filter=_is_given),
        given.changes,
        room.processed,
        room.is_wanted,
        room.numbered,
        clients,
    )


def _is_given(attribute: "attrs.Attribute[object]", _: object) -> bool:
    return attribute.init


def _client_state(client: Client, number: int, ahead: float) -> ClientState:
    held, identity = client.held, client.identity
    waiting = client.waiting - len(held) if held else client.waiting
    if client.reads or waiting or client.paging is Paging.READING:
        raise NotAtRest(f"client {client.number} waits for an answer")
    return ClientState(
        number,
        client.number,
        identity.user,
        identity.role,
        identity.expires_at,
        client.vouched,
        client.scope,
        client.asked,
        client.extras.times,
        client.proof,
        client.joined_at,
        client.acked,
        client.leaving,
        client.window.state(ahead),
        held_state(client) if held else None,
        client.extras.syncs,
    )


def farewell(hall: Hall, can_go: Callable[[Connection], bool]) -> None:
    """Tell the clients that can't go along that the server shuts down, and close them."""
    for gathering in rooms_so_far(hall):
        room = gathering.room
        for client in tuple(room.clients.values()):
            if not can_go(client.connection):
                idle_for = trio.current_time() - room.deadline.last_processed_at
                reason = DispersalReason.SHUTDOWN
                seq = room.log.committed
                client.send(Outgoing(Dispersed(room.id, room.incarnation, reason, seq, idle_for)))
                room.gone(client)
                client.close(reason.close_code, reason)


def pause(hall: Hall, *, leaving: bool) -> None:
    """Note whether nobody is heard for now."""
    registry, _, _ = parts_of(hall)
    registry.quotas.is_leaving = leaving


def leave(hall: Hall) -> None:
    """Note that all gatherings are another process's: they end here without a trace."""
    registry, _, _ = parts_of(hall)
    for incarnation in registry.living.values():
        if isinstance(incarnation, Incarnation):
            incarnation.room.is_moved = True


# The hall that goes on.


@frozen(eq=False)
class Arriving:
    """The gatherings of another process, restored here; they do nothing before `begin`."""

    hall: Hall
    ahead: float
    """How many seconds Trio's clock is ahead of the one that both have."""
    inherited: list[tuple[Inheritance, Incarnation]]

    def begin(self, connections: Mapping[int, Connection]) -> dict[int, Membership]:
        """Go on with them, and with these connections; return the connections' memberships.

        Doesn't wait. From now on they are ours.
        """
        _, _, asking = parts_of(self.hall)
        now = trio.current_time()
        memberships: dict[int, Membership] = {}
        for inheritance, incarnation in self.inherited:
            gathering, state = incarnation.gathering, inheritance.state
            room, clients = gathering.room, []
            for one in state.clients:
                connection = connections.get(one.connection)
                if connection is not None:
                    client = take_in(room, one, connection, self.ahead)
                    clients.append(client)
                    memberships[one.connection] = asking.membership(room, client)
            for client in clients:
                gathering.delivery.resume(client)
            if not clients:
                # Somebody may have gone while it was under way.
                room.left_alone(now)
            inheritance.ours.set()
        return memberships


async def arrive(hall: Hall, state: HallState, rooms: list[RoomState], ahead: float) -> Arriving:
    """Restore the gatherings of another process from the store.

    Args:
        hall: The hall that goes on with them. It must be new.
        state: What the other hall knows.
        rooms: Its gatherings.
        ahead: How many seconds Trio's clock is ahead of the one that both have.

    Raises:
        GatheringsError: One of them can't be restored.

    Cancellation: those that were restored are left as they are; the hall must be closed.
    """
    registry, rights, _ = parts_of(hall)
    registry.resume(state, rights)
    # The one that was left first comes first.
    rooms.sort(key=lambda one: one.deadline.emptied_at or 0.0)
    inherited = [(Inheritance(one, ahead), one) for one in rooms]
    found: list[tuple[Inheritance, Incarnation]] = []
    async with trio.open_nursery() as nursery:
        for inheritance, one in inherited:
            incarnation = registry.adopt(one, inheritance)
            found.append((inheritance, incarnation))
            nursery.start_soon(registry.start, incarnation)
    return Arriving(hall, ahead, found)
