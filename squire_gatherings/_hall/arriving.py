"""Arriving: a hall that goes on for that of another process (`moving`).

It restores that one's gatherings while they still live there, and follows them. They do nothing
here before they are ours. Those that sleep there sleep here.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress

import trio
from attrs import define, evolve, field, frozen
from msgspec.structs import replace

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.inheritance import Inheritance, bring_up, take_in
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.lookup import ask_for_older
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.opening import start
from squire_gatherings._hall.parts import events_of, parts_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._hall.succession import (
    adopt,
    adopt_sleeper,
    claim,
    drop,
    drop_sleeper,
    given_by,
    given_in,
    resume,
)
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.handover import HallState, RoomState
from squire_gatherings._values.sleep import Rules, SleeperState, shifted

WOKEN_AT_ONCE = 16
"""How many gatherings begin to wait for their ends before others get their turn."""


@frozen
class _Waits:
    """A gathering that is to begin to wait for what is due next."""

    at: float
    """When that is."""
    gathering: Gathering | Sleeper


@frozen
class _Asleep:
    """A gathering that sleeps."""

    sleeper: Sleeper
    at: float
    """When something is due next."""
    presence: list[tuple[int, bytes]] | None
    """The clients that are told who is here."""


@define(eq=False)
class Arriving:
    """The gatherings of another process, as far as they are here."""

    hall: Hall
    """A new one, which goes on with them."""
    _inherited: dict[str, tuple[Inheritance, Incarnation]] = field(factory=dict)
    """By the gathering's id."""
    _asleep: dict[str, _Asleep] = field(factory=dict)
    """Those that sleep, by the gathering's id."""
    _others: GivenRules | None = None
    """The rules of those that don't say which they have."""
    _alike: dict[Hashable, GivenRules] = field(factory=dict)
    """The rules by which they sleep."""
    _new: list[tuple[Room, Client]] = field(factory=list)
    """Those of whom the store wasn't asked yet which syncs they have made."""

    async def follow(
        self,
        rooms: list[RoomState],
        asleep: list[SleeperState],
        ended: list[str],
        connections: Mapping[int, Connection],
        ahead: float,
        base: Rules | None = None,
    ) -> dict[int, Membership]:
        """Be where the other process is by now; return the memberships of those who are new.

        A checkpoint only where a gathering must be restored, or has ended.

        Args:
            rooms: The gatherings that have changed, or are new.
            asleep: The same of those that sleep.
            ended: The ids of those that don't live any more.
            connections: The connections that came along, by their numbers.
            ahead: How many seconds Trio's clock is ahead of the one that both have.
            base: The rules that those of `rooms` have been opened with that don't say which.

        Raises:
            GatheringsError: One of them can't be restored.

        Cancellation: those that were restored are left as they are; the hall must be closed.
        """
        registry, _, _ = parts_of(self.hall)
        for one in ended:
            await self._drop(one)
        others = given_by(registry, base)
        if self._others is None or self._others != others:
            self._others = others
        to_restore: list[Inheritance] = []
        for state in rooms:
            inheritance = Inheritance(state, ahead)
            if not self._goes_on(inheritance, self._others):
                await self._drop(state.id)
                to_restore.append(inheritance)
        if to_restore:
            async with trio.open_nursery() as nursery:
                for inheritance in to_restore:
                    given = given_in(inheritance.state, self._others)
                    incarnation = adopt(registry, inheritance, given)
                    self._inherited[inheritance.state.id] = inheritance, incarnation
                    nursery.start_soon(start, registry, incarnation)
        memberships: dict[int, Membership] = {}
        for state in rooms:
            self._attend(state, connections, memberships, ahead)
        for sleeping in asleep:
            await self._drop(sleeping.slept.gathering)
            self._lay_down(sleeping, connections, memberships, ahead)
        return memberships

    async def prepare(self) -> None:
        """Ask the store what it would be asked when those who are new submit something first.

        Cancellation: the rest is asked then.
        """
        new, self._new = self._new, []
        with suppress(StoreUnavailable), store_trouble():
            for room, client in new:
                keys = [(client.scope, "")]
                await ask_for_older(room.id, room.store, room.log.syncs, keys)

    def check(self) -> None:
        """Raise `StoreConflict` unless the store has what the other process has, and no more."""
        for inheritance, incarnation in self._inherited.values():
            inheritance.check(incarnation.room)

    def begin(self, state: HallState) -> None:
        """From now on all of it is ours. `state` is what else the other hall knows."""
        registry, rights, _ = parts_of(self.hall)
        resume(registry, state, rights)
        delivery = events_of(self.hall)
        if delivery is not None and state.events is not None:
            delivery.resume(state.events)
        now = trio.current_time()
        empty: list[tuple[float, Gathering | Sleeper]] = []
        waits: list[_Waits] = []
        for one in self._asleep.values():
            sleeper = one.sleeper
            registry.sleepers.claim(sleeper)
            if registry.presence is not None and one.presence is not None:
                registry.presence.resume(sleeper.id, sleeper.clients, one.presence)
            if not sleeper.clients:
                empty.append((registry.sleepers.left_alone(sleeper, now), sleeper))
            waits.append(_Waits(one.at, sleeper))
        for inheritance, incarnation in self._inherited.values():
            claim(registry, incarnation, inheritance.state.life)
            inheritance.is_ours = True
            room = incarnation.room
            if room.presence is not None:
                room.presence.resume(room.id, room.clients.values(), inheritance.state.presence)
            if not room.clients:
                empty.append((inheritance.state.deadline.emptied_at or 0.0, incarnation.gathering))
            waits.append(_Waits(room.deadline.next_at, incarnation.gathering))
        # The one that was left first comes first.
        for _, left in sorted(empty, key=_first):
            if isinstance(left, Sleeper):
                registry.quotas.unattended(left.id)
            else:
                left.room.left_alone(now)
        waits.sort(key=lambda wait: wait.at)
        registry.nursery.start_soon(_go_on, waits, registry)

    def _goes_on(self, inheritance: Inheritance, others: GivenRules) -> bool:
        """Have an incarnation that is here follow; return whether it does."""
        state = inheritance.state
        found = self._inherited.get(state.id)
        if found is None or found[0].state.incarnation != state.incarnation:
            return False
        incarnation = found[1]
        room = incarnation.room
        # The behaviour's rules come of its state.
        room.given = evolve(given_in(state, others), said=room.given.said)
        if not incarnation.gathering.follow(inheritance):
            return False
        self._inherited[state.id] = inheritance, incarnation
        return True

    async def _drop(self, gathering_id: str) -> None:
        registry, _, _ = parts_of(self.hall)
        found = self._inherited.pop(gathering_id, None)
        if found is not None:
            await drop(registry, found[1])
        asleep = self._asleep.pop(gathering_id, None)
        if asleep is not None:
            drop_sleeper(registry, asleep.sleeper)

    def _attend(
        self,
        state: RoomState,
        connections: Mapping[int, Connection],
        memberships: dict[int, Membership],
        ahead: float,
    ) -> None:
        """Have those be in a gathering that are in it by now."""
        _, _, asking = parts_of(self.hall)
        room = self._inherited[state.id][1].room
        before = {client.number: client for client in room.clients.values()}
        for number in before.keys() - {one.number for one in state.clients}:
            room.detach(before[number])
        for one in state.clients:
            client = before.get(one.number)
            if client is not None:
                bring_up(client, one, ahead)
            elif one.connection in connections:
                client = take_in(room, one, connections[one.connection], ahead)
                self._new.append((room, client))
                memberships[one.connection] = asking.membership(room, client)

    def _lay_down(
        self,
        state: SleeperState,
        connections: Mapping[int, Connection],
        memberships: dict[int, Membership],
        ahead: float,
    ) -> None:
        """Have one here that sleeps, and those in it who came along."""
        registry, _, asking = parts_of(self.hall)
        slept = replace(state.slept, state=shifted(state.slept.state, ahead))
        sleeper = adopt_sleeper(registry, slept, self._alike)
        room = sleeper.room
        room.is_moved = True
        for one in state.clients:
            if one.connection in connections:
                client = take_in(room, one, connections[one.connection], ahead)
                memberships[one.connection] = asking.membership(room, client)
        sleeper.clients = tuple(room.clients.values())
        for client in sleeper.clients:
            client.room = sleeper
        self._asleep[slept.gathering] = _Asleep(sleeper, room.deadline.wakes_at, state.presence)


def _first(one: tuple[float, object]) -> float:
    return one[0]


async def _go_on(waits: Sequence[_Waits], registry: Registry) -> None:
    """Have gatherings begin to wait for their ends; those that are asked something have begun."""
    for number, one in enumerate(waits, start=1):
        gathering = one.gathering
        if isinstance(gathering, Sleeper):
            if registry.living.get(gathering.id) is gathering:
                registry.sleepers.go_on(gathering)
        elif gathering.inheritance is not None:
            gathering.room.inbox.wake()
        if not number % WOKEN_AT_ONCE:
            await trio.lowlevel.checkpoint()
