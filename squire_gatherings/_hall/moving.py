"""Moving: what a hall leaves to that of another process, which goes on with it (`arriving`).

Nothing is changed in the hall that leaves. So it goes on itself where the other one can't. It tells
where its gatherings are while it goes on, and after that again of each that has changed: so little
is left to be told when nothing may happen any more. Those that sleep go along asleep.
"""

import math
from collections.abc import Callable, Iterable

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.inheritance import held_state, later_ops
from squire_gatherings._hall.parts import events_of, parts_of
from squire_gatherings._hall.presence import Presences
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._values.end_rules import fields_of
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.handover import ClientState, EventsState, HallState, RoomState
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.sleep import Rules, SleeperState

NumberOf = Callable[[Connection], int | None]
"""Returns the number under which a connection goes along; None if it doesn't."""

Living = Gathering | Sleeper

Mark = tuple[object, ...]
"""What tells whether a gathering is where it was before. It is cheap to make."""


class NotAtRest(Exception):
    """Something is under way that can't be left to another process; says what."""


def hall_state(hall: Hall) -> HallState:
    """Return what a hall knows besides its gatherings.

    Raises:
        NotAtRest: Somebody is being checked, or asks for something.
    """
    registry, rights, _ = parts_of(hall)
    if rights.is_busy or registry.kept_out:
        raise NotAtRest("joins and calls of the program")
    if registry.book is not None and not registry.book.is_idle:
        raise NotAtRest("the store isn't told yet who sleeps")
    delivery = events_of(hall)
    events: EventsState | None = None
    if delivery is not None:
        events = delivery.state()
        if events is None:
            raise NotAtRest("lifecycle events")
    revoked, roles = rights.overrides.state()
    count, forgotten, changed = rights.state()
    return HallState(
        registry.endings.mark,
        registry.endings.state(),
        registry.poison.state(),
        revoked,
        roles,
        count,
        forgotten,
        changed,
        registry.opened,
        {str(reason): count for reason, count in registry.ended.items()},
        events,
    )


def id_of(one: Living) -> str:
    """Return a gathering's id."""
    return one.id if isinstance(one, Sleeper) else one.room.id


def living(hall: Hall) -> list[Living]:
    """Return the gatherings that live.

    Raises:
        NotAtRest: One of them is being opened, or ends.
    """
    registry, _, _ = parts_of(hall)
    found: list[Living] = []
    for one in registry.living.values():
        if isinstance(one, Sleeper):
            found.append(one)
        elif _is_open(one):
            found.append(one.gathering)
        else:
            raise NotAtRest(f"gathering {one.room.id} opens or ends")
    return found


def living_so_far(hall: Hall) -> list[Living]:
    """Return the gatherings to which somebody may be connected."""
    registry, _, _ = parts_of(hall)
    return [
        one if isinstance(one, Sleeper) else one.gathering
        for one in registry.living.values()
        if isinstance(one, Sleeper) or _is_open(one)
    ]


def _is_open(one: Incarnation) -> bool:
    return one.opened and one.room.accepting and not one.room.is_resting


@frozen
class _Told:
    """What the other process was told of a gathering."""

    incarnation: str
    seq: int
    mark: Mark | None
    """None where it changes all the time, so that it must be told again."""


@define(eq=False)
class Telling:
    """Tells another process where the gatherings of a hall are, and again what has changed."""

    hall: Hall
    number_of: NumberOf
    """Says which connections go along."""
    _told: dict[str, _Told] = field(factory=dict)
    """By the gathering's id."""

    def changed(self, living: list[Living]) -> list[Living]:
        """Return those that aren't where they were, as far as the other process knows."""
        registry, rights, _ = parts_of(self.hall)
        told, change, found = self._told, rights.last_change, list[Living]()
        for one in living:
            before = told.get(id_of(one))
            if (
                before is None
                or before.mark is None
                or before.mark != _mark(one, change, registry.presence)
            ):
                found.append(one)
        return found

    def is_there(self, one: Living) -> bool:
        """Whether it lives, and is awake or asleep, as it was."""
        if isinstance(one, Sleeper):
            registry, _, _ = parts_of(self.hall)
            return registry.living.get(one.id) is one
        return one.room.accepting and not one.room.is_resting

    def base(self) -> Rules:
        """Return the rules of those whose state doesn't say with which they were opened."""
        registry, _, _ = parts_of(self.hall)
        return fields_of(registry.given.base)

    def ended(self, living: list[Living]) -> list[str]:
        """Return the ids of those that aren't among these any more, and forget them."""
        ended = list(self._told.keys() - set(map(id_of, living)))
        for one in ended:
            del self._told[one]
        return ended

    def state(self, gathering: Gathering, ahead: float, *, at_rest: bool) -> RoomState:
        """Return where a gathering is; the other process is taken to know it then.

        Args:
            gathering: It.
            ahead: How many seconds the clock that both have is ahead of Trio's.
            at_rest: Whether nothing may be under way. Otherwise it will be told again.

        Raises:
            NotAtRest: Something is.
        """
        registry, rights, _ = parts_of(self.hall)
        room = gathering.room
        if at_rest:
            check_rest(gathering)
        clients = self._clients(room.clients.values(), ahead, at_rest=at_rest)
        mark = _mark(gathering, rights.last_change, registry.presence)
        if len(clients) != len(room.clients):
            mark = None
        before, seq = self._told.get(room.id), room.log.committed
        later = None
        if before is not None and before.incarnation == room.incarnation:
            later = later_ops(room, before.seq)
        self._told[room.id] = _Told(room.incarnation, seq, mark)
        given = room.given
        return RoomState(
            room.id,
            room.incarnation,
            seq,
            registry.opener_of(room.id),
            room.deadline.state(room.moved(), ahead),
            None if given.base is registry.given.base else fields_of(given.base),
            given.changes,
            room.processed,
            room.is_wanted,
            room.numbered,
            clients,
            later,
            None if room.life is None else room.life.state(),
            None if room.presence is None else room.presence.state(room.id),
        )

    def sleeper(self, sleeper: Sleeper, ahead: float, *, at_rest: bool) -> SleeperState:
        """Return where one is that sleeps. As `state`."""
        registry, rights, _ = parts_of(self.hall)
        clients = self._clients(sleeper.clients, ahead, at_rest=at_rest)
        slept = registry.sleepers.slept(sleeper, ahead)
        is_whole = len(clients) == len(sleeper.clients)
        presence = registry.presence
        mark = _mark(sleeper, rights.last_change, presence) if is_whole else None
        self._told[sleeper.id] = _Told(slept.state.incarnation, slept.state.seq, mark)
        here = None if presence is None else presence.state(sleeper.id)
        return SleeperState(slept, clients, here)

    def _clients(
        self, clients: Iterable[Client], ahead: float, *, at_rest: bool
    ) -> list[ClientState]:
        """Return where those clients are whose connections go along."""
        found: list[ClientState] = []
        for client in clients:
            number = self.number_of(client.connection)
            if number is not None:
                if at_rest:
                    check_client(client)
                found.append(_client_state(client, number, ahead))
        return found


def _mark(one: Living, change: int, presence: Presences | None) -> Mark | None:
    """Return what changes whenever a gathering does; None where that can't be told.

    Args:
        one: The gathering.
        change: The number of the last change of somebody's rights.
        presence: Who is in the gatherings, where clients may be told.
    """
    if isinstance(one, Sleeper):
        # Who says that, wakes nobody.
        here = None if presence is None else presence.mark(one.id)
        return one.state, one.given, one.clients, here, change
    gathering, room = one, one.room
    if gathering.at_work() is not None:
        return None
    for client in room.clients.values():
        if (
            client.window.due_at != math.inf
            or client.waiting
            or client.reads
            or client.paging
            or client.held
            or client.leaving
        ):
            return None
    deadline = room.deadline
    return (
        room.incarnation,
        room.inbox.taken,
        room.log.seq,
        room.numbered,
        len(room.clients),
        room.processed,
        room.is_wanted,
        room.given,
        deadline.last_processed_at,
        deadline.emptied_at,
        deadline.few_since,
        deadline.extended_to,
        deadline.told,
        deadline.moved,
        change,
    )


def check_rest(gathering: Gathering) -> None:
    """Raise `NotAtRest` unless all that was asked of a gathering is done, and durable."""
    work = gathering.at_work()
    if work is not None:
        raise NotAtRest(work)


def check_client(client: Client) -> None:
    """Raise `NotAtRest` if a client waits for something that only this process can give it."""
    waiting = client.waiting - len(client.held) if client.held else client.waiting
    if client.reads or waiting or client.paging is Paging.READING:
        raise NotAtRest(f"client {client.number} waits for an answer")


def _client_state(client: Client, number: int, ahead: float) -> ClientState:
    identity = client.identity
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
        held_state(client),
        client.extras.syncs,
    )


def farewell(hall: Hall, can_go: Callable[[Connection], bool]) -> None:
    """Tell the clients that can't go along that the server shuts down, and close them."""
    registry, _, _ = parts_of(hall)
    for one in living_so_far(hall):
        clients = one.clients if isinstance(one, Sleeper) else one.room.clients.values()
        left = [client for client in clients if not can_go(client.connection)]
        if left:
            with registry.changing(id_of(one)) as room:
                assert room is not None
                for client in left:
                    _say_farewell(room, client)


def _say_farewell(room: Room, client: Client) -> None:
    reason = DispersalReason.SHUTDOWN
    client.send(Outgoing(room.last_words(reason, trio.current_time())))
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
            incarnation.room.life = None
    registry.sleepers.leave()
    delivery = events_of(hall)
    if delivery is not None:
        delivery.leave()
