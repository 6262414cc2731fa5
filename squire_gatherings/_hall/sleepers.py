"""The sleepers: the gatherings of a hall that sleep, and the one task that watches over them.

A gathering that nobody has used for a while leaves its task and its state. What stays is a
`Sleeper`: where it is in its life, packed, and its clients. Nothing is read from the store for it
until somebody wants something of its log. For what concerns only its end or its clients, its room
is made of the sleeper, and put away again.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import trio
from attrs import define, field

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.life import Life
from squire_gatherings._hall.lifecycle import Lifecycle
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.presence import Presences
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.sleep_book import SleepBook
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.terms import Terms
from squire_gatherings._hall.turnstile import Turnstile
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.messages import ClientMessage, PresenceUpdate
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.sleep import SleepState, Slept, shifted

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SleepState).decode

Opener = tuple[str, str | None] | None


@define(eq=False)
class Sleepers:
    """Those of one hall. Its task runs while there are any."""

    turnstile: Turnstile
    nursery: trio.Nursery
    terms: Terms
    quotas: Quotas
    lifecycle: Lifecycle | None
    book: SleepBook | None
    """Where it is noted who sleeps, for the next process."""
    make_room: Callable[[str, str, GivenRules], Room]
    wake: Callable[[Sleeper, Room, Opener], None]
    """Has a task go on with it, in this room."""
    on_cancelled: Callable[[], None]
    """Called when the task is cancelled: all that sleep are to end."""
    count: int = 0
    """How many sleep."""
    presence: Presences | None = None
    """Where clients are told who is here, also while they sleep."""
    accepting: bool = True
    """As `instants.Ending` has it."""
    ownership: Ownership | None = None
    """Whether they are certainly ours, where several nodes form the hall."""
    have_moved: bool = False
    """Whether they are another process's by now. Nothing is done for them here any more."""
    _armed: dict[Sleeper, float] = field(factory=dict)
    """When to look at those that are due first."""
    _by_wall: set[Sleeper] = field(factory=set)
    """Those whose end depends on the wall clock."""
    _is_running: bool = False
    _scope: trio.CancelScope | None = None

    # Falling asleep, and waking.

    def lay_down(self, room: Room, opener: Opener) -> Sleeper:
        """Return what is left of a gathering that is at rest. Its task must end."""
        sleeper = Sleeper(self, room.id, room.given, b"")
        self._put_away(sleeper, room, opener)
        for client in sleeper.clients:
            client.room = sleeper
        room.enter(None)
        self._count()
        self._list(sleeper, room)
        return sleeper

    def take_up(self, gathering: str, state: SleepState, given: GivenRules) -> Sleeper:
        """Return one that slept when an earlier process ended. Nobody is connected to it."""
        sleeper = Sleeper(self, gathering, given, _encode(state))
        self.left_alone(sleeper, trio.current_time())
        self.claim(sleeper)
        self.go_on(sleeper)
        return sleeper

    def _count(self) -> None:
        self.count += 1
        self.quotas.tally.stages[Stage.ASLEEP] += 1
        self.quotas.fell_asleep()
        if not self._is_running:
            self._is_running = True
            self.nursery.start_soon(self._watch, name="sleeping gatherings")

    def drop(self, sleeper: Sleeper) -> None:
        """Forget one that has no clients: it sleeps on in the store."""
        self._end(sleeper)
        self.quotas.reaped(sleeper.id, self.opener_of(sleeper))

    def rouse(self, sleeper: Sleeper) -> Room:
        """Make its room the one that it has; a task goes on with it."""
        room, opener = self._look(sleeper)
        self._rouse(sleeper, room, opener)
        return room

    def _rouse(self, sleeper: Sleeper, room: Room, opener: Opener) -> None:
        for client in sleeper.clients:
            client.room = room
        self._end(sleeper)
        # Its task enters the next one.
        room.stage = None
        room.enter(Stage.ASLEEP)
        sleeper.clients = ()
        self.wake(sleeper, room, opener)

    def _end(self, sleeper: Sleeper) -> None:
        """Take back what `_count` and `_list` have done."""
        self.quotas.tally.stages[Stage.ASLEEP] -= 1
        self.quotas.woke()
        self._unlist(sleeper)
        self._by_wall.discard(sleeper)
        self.count -= 1
        if not self.count and self._scope is not None:
            self._scope.cancel()

    # Looking at one, and changing it.

    def look(self, sleeper: Sleeper) -> Room:
        """Return a room as it is. What is changed in it, others don't see."""
        return self._look(sleeper)[0]

    def opener_of(self, sleeper: Sleeper) -> Opener:
        """Return who has opened it."""
        return _decode(sleeper.state).opener

    def _look(self, sleeper: Sleeper) -> tuple[Room, Opener]:
        """Return a room as it is, and who has opened it."""
        state = _decode(sleeper.state)
        room = self.make_room(sleeper.id, state.incarnation, sleeper.given)
        room.is_resting = room.accepting = True
        room.stage = Stage.ASLEEP
        settings = room.settings
        room.log = OpLog(settings.tail_bytes, settings.recent_syncs, room.incarnation)
        room.log.seq = room.log.committed = room.log.head_seq = state.seq
        room.log.head = state.beginning
        room.processed, room.numbered = state.processed, state.numbered
        room.is_wanted = state.is_wanted
        room.clients = {client.scope: client for client in sleeper.clients}
        deadline = room.deadline = Deadline(sleeper.given.rules, 0.0, 0.0)
        deadline.resume(state.deadline, 0.0)
        deadline.acts_at_time = state.acts_at_time
        if settings.sleep_after is not None:
            deadline.sleep_after = settings.sleep_after
        if state.life is not None and self.lifecycle is not None and not self.have_moved:
            room.life = Life.of(self.lifecycle, room.id, room.incarnation, state.life)
        room.look()
        return room, state.opener

    @contextmanager
    def changing(self, sleeper: Sleeper) -> Iterator[Room]:
        """Let its room be changed within the block, which has no checkpoint; it sleeps on."""
        room, opener = self._look(sleeper)
        try:
            yield room
        finally:
            self._change(sleeper, room, opener)

    def _change(self, sleeper: Sleeper, room: Room, opener: Opener) -> None:
        self._put_away(sleeper, room, opener)
        self._unlist(sleeper)
        self._list(sleeper, room)

    def gone(self, sleeper: Sleeper, client: Client) -> None:
        """Note that a client is gone. Counts as no activity."""
        with self.changing(sleeper) as room:
            room.gone(client)

    def rights_changed(self, sleeper: Sleeper, client: Client) -> None:
        """Note that a client's rights have ended."""
        if self.presence is not None:
            self.presence.rights_changed(sleeper.id, client)

    def takes(self, sleeper: Sleeper, client: Client, message: ClientMessage) -> bool:
        """Process a message for which nobody is roused: it needs nothing of the log.

        Returns:
            Whether it is one. What is wrong is left to the gathering, which says so.
        """
        if self.presence is None or not isinstance(message, PresenceUpdate) or client.is_mute:
            return False
        if self.terms.are_over(client.identity):
            return False
        try:
            self.presence.said(sleeper.id, client, message.state)
        except TooBig:
            return False
        return True

    def _put_away(self, sleeper: Sleeper, room: Room, opener: Opener) -> None:
        """Keep in the sleeper what is in its room."""
        state = SleepState.of(
            room.incarnation,
            room.log.committed,
            room.processed,
            room.numbered,
            room.deadline.state(room.moved(), 0.0),
            is_wanted=room.is_wanted,
            opener=opener,
            life=None if room.life is None else room.life.state(),
            acts_at_time=room.deadline.acts_at_time,
            head=room.log.head if room.log.head_seq == room.log.committed else b"",
        )
        sleeper.state, sleeper.given = _encode(state), room.given
        sleeper.clients = tuple(room.clients.values())
        if self.book is not None and not self.have_moved:
            self.book.note(self.slept(sleeper, self.clock_ahead()))

    # Handing over.

    def clock_ahead(self) -> float:
        """Return how many seconds the clock by which stores have it is ahead of Trio's."""
        if self.ownership is not None:
            return self.ownership.store.ahead()
        return self.terms.wall() - trio.current_time()

    def slept(self, sleeper: Sleeper, ahead: float) -> Slept:
        """Return what is remembered of one, by a clock that is ahead by so many seconds."""
        return sleeper.given.slept(sleeper.id, shifted(_decode(sleeper.state), ahead))

    def adopt(self, gathering: str, state: SleepState, given: GivenRules) -> Sleeper:
        """Have one here that sleeps in another process. Nothing is done for it before `claim`."""
        return Sleeper(self, gathering, given, _encode(state))

    def claim(self, sleeper: Sleeper) -> None:
        """Note that one that another process had is ours. It is looked at after `go_on`."""
        life = _decode(sleeper.state).life
        if life is not None and self.lifecycle is not None:
            _, owed, _, _ = life
            self.lifecycle.owed += owed
        self._count()
        for client in sleeper.clients:
            self.terms.add(client)

    def left_alone(self, sleeper: Sleeper, now: float) -> float:
        """Return since when nobody is connected to one: `now`, if that isn't known.

        Whoever was connected went with the process before.
        """
        emptied_at = _decode(sleeper.state).deadline.emptied_at
        if emptied_at is not None:
            return emptied_at
        room, opener = self._look(sleeper)
        room.deadline.attended(0, now)
        if room.life is not None and room.deadline.was_joined:
            room.life.emptied(room.log.committed, at_start=True)
        self._put_away(sleeper, room, opener)
        return now

    def go_on(self, sleeper: Sleeper) -> None:
        """Have one be looked at when something is due, unless that was done meanwhile."""
        if sleeper.listed_at is None:
            self._list(sleeper, self.look(sleeper))

    def part(self, sleeper: Sleeper, code: CloseCode, reason: str) -> None:
        """Close the connections to one that goes on elsewhere: nobody has left it."""
        if sleeper.clients:
            with self.changing(sleeper) as room:
                clients = tuple(room.clients.values())
                for client in clients:
                    room.detach(client)
            for client in clients:
                client.close(code, reason)

    def pause(self, sleeper: Sleeper) -> None:
        """Do nothing for one, until `go_on`."""
        self._unlist(sleeper)
        self._by_wall.discard(sleeper)
        sleeper.listed_at = None

    def incarnation_of(self, sleeper: Sleeper) -> str:
        """Return which incarnation it is."""
        return _decode(sleeper.state).incarnation

    def leave(self) -> None:
        """Note that all are another process's."""
        self.have_moved = True
        self._armed.clear()
        self._by_wall.clear()

    # When something is due.

    def _list(self, sleeper: Sleeper, room: Room) -> None:
        """Have it looked at when something is due."""
        if room.deadline.is_by_wall:
            self._by_wall.add(sleeper)
            self.terms.instants.add(self)
        else:
            self._by_wall.discard(sleeper)
        at = self.turnstile.enter(sleeper, room.deadline.wakes_at)
        if at < math.inf:
            self.arm(sleeper, at)

    def _unlist(self, sleeper: Sleeper) -> None:
        self.turnstile.forget(sleeper)
        self._armed.pop(sleeper, None)

    def arm(self, sleeper: Sleeper, at: float) -> None:
        """Look at it then."""
        if self.have_moved:
            return
        self._armed[sleeper] = at
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, at)

    def disarm(self, sleeper: Sleeper) -> None:
        """Don't look at it."""
        self._armed.pop(sleeper, None)

    def look_again(self) -> None:
        """Compute anew when those are due whose end depends on the wall clock: it was set."""
        for sleeper in tuple(self._by_wall):
            with self.changing(sleeper) as room:
                room.look_at_warning(trio.current_time())

    async def _watch(self) -> None:
        """Look at each that is due, until none sleeps."""
        try:
            while self.count:
                soonest = min(self._armed.values(), default=math.inf)
                with trio.CancelScope(deadline=soonest) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                if self.ownership is not None:
                    await self.ownership.wait_certain()
                now = trio.current_time()
                for sleeper, at in tuple(self._armed.items()):
                    if at <= now and sleeper in self._armed:
                        self._come(sleeper)
        except trio.Cancelled:
            self.on_cancelled()
            raise
        finally:
            self._scope = None
            self._is_running = False

    def _come(self, sleeper: Sleeper) -> None:
        """Do what is due."""
        room, opener = self._look(sleeper)
        if room.deadline.acts_at <= trio.current_time():
            # Before anything else: it is restored, and acts.
            room.is_called = True
            self._rouse(sleeper, room, opener)
        elif room.is_due():
            # It hears everybody out, and ends.
            self._rouse(sleeper, room, opener)
        else:
            room.warn_if_due()
            self._change(sleeper, room, opener)
