"""The registry: opens gatherings on demand, and forgets them when they are gone."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import cast

import trio
from attrs import define, field

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.incarnations import Endings, Incarnation, crowd_of
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.lifecycle import Life, Lifecycle
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.parting import part_at_once
from squire_gatherings._hall.presence import Presences
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.reports import report_birth
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.running import run
from squire_gatherings._hall.sleep_book import SleepBook
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.sleepers import Opener, Sleepers
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.turnstile import Turnstile, Waiting, Wake
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.poison import Poison
from squire_gatherings._values.claims import Estate
from squire_gatherings._values.end_rules import rules_of
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import (
    GatheringsError,
    HallClosed,
    StoreUnavailable,
    TakenAway,
)
from squire_gatherings._values.ids import new_hall_mark, new_incarnation_id
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._values.sleep import Slept, shifted

AT_ONCE = 1000
"""So many are closed before others get their turn."""


@define(eq=False)
class Registry:
    """The incarnations of one hall, at most one of each gathering at a time."""

    settings: HallSettings
    store: Store
    make_behaviour: Callable[[], Behaviour]
    nursery: trio.Nursery
    """Has the gatherings' tasks."""
    refreshes: Refreshes
    lifecycle: Lifecycle | None = None
    """Where somebody is told what happens to gatherings."""
    book: SleepBook | None = None
    """Where it is noted who sleeps, for the next process."""
    ownership: Ownership | None = None
    """Which of them may be opened here, where several nodes form the hall."""
    make_gathering: Callable[..., Gathering] = Gathering
    """Another one, where gatherings are traced."""
    quotas: Quotas = field(init=False)
    """What the gatherings may use up together."""
    given: GivenRules = field(init=False)
    """The rules by which gatherings end that are given no others: one object for all."""
    turnstile: Turnstile = field(init=False)
    closed: bool = False
    """Whether the hall is closing, so that none is opened any more."""
    living: dict[str, Incarnation | Sleeper] = field(factory=dict)
    """By gathering id, from before the restore until it is reaped."""
    presence: Presences | None = field(init=False)
    """Who is in them, where clients may be told."""
    sleepers: Sleepers = field(init=False)
    """Those of them that sleep."""
    opened: int = 0
    """How many were opened so far."""
    ended: Counter[str] = field(factory=Counter)
    """How many have ended so far, by reason."""
    poison: Poison = field(factory=Poison)
    """The syncs that crashed their gatherings."""
    endings: Endings = field(factory=lambda: Endings(new_hall_mark()))
    """How those ended that live no more."""
    moving: dict[str, trio.Event] = field(factory=dict)
    """Gatherings that are just given to other nodes; each event says that this is over."""
    _kept_out: dict[str, trio.Event] = field(factory=dict)
    """Gatherings that nobody may open now; each event says that this is over."""

    _on_gone: Callable[[str], None] = field(init=False)
    """`_reap`, bound once for all."""

    def __attrs_post_init__(self) -> None:
        self._on_gone = self._reap
        self.quotas = Quotas(self.settings)
        self.given = GivenRules(rules_of(self.settings))
        self.turnstile = Turnstile(self.nursery, self._part)
        self.presence = None
        if self.settings.presence:
            self.presence = Presences(self.settings, self.nursery, self.quotas, self.ownership)
        self.sleepers = Sleepers(
            self.turnstile,
            self.nursery,
            self.refreshes.rights.terms,
            self.quotas,
            self.lifecycle,
            self.book,
            self._make_room,
            self._wake,
            self.give_up,
            presence=self.presence,
            ownership=self.ownership,
        )

    def change_settings(self, settings: HallSettings) -> None:
        """Change the settings of what is opened from now on, and of what all share."""
        self.settings = settings
        self.given = GivenRules(rules_of(settings))
        if self.lifecycle is not None:
            self.lifecycle.max_events = settings.max_events
        self.quotas.change_settings(settings)
        if self.presence is not None:
            self.presence.settings = settings
        for one in self.living.values():
            if isinstance(one, Incarnation) and one.opened:
                one.room.sleep_after(settings.sleep_after)

    async def find(self, gathering_id: str, opener: Hashable = None) -> Room:
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
            if self.closed:
                raise HallClosed("the hall is closed")
            await self._wait_moved(gathering_id)
            incarnation = self._awake(gathering_id)
            if gathering_id in self._kept_out:
                await self._kept_out[gathering_id].wait()
            elif incarnation is None:
                if self.ownership is not None and self.quotas.is_full():
                    # For one that another node has, nobody makes room.
                    await self.ownership.check_elsewhere(gathering_id)
                    if gathering_id in self.living or gathering_id in self._kept_out:
                        continue
                self.quotas.check_opening(gathering_id, opener)
                if self.lifecycle is not None:
                    self.lifecycle.check_opening(self.quotas, gathering_id)
                if self.quotas.is_full():
                    await self._evict_stalest(self.quotas.stalest())
                else:
                    await self._open(gathering_id, opener)
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

    async def _evict_stalest(self, gathering_id: str) -> None:
        """End one to which nobody is connected, or wait until another node has it."""
        if gathering_id in self.moving:
            self.quotas.unattended(gathering_id)
            await self._wait_moved(gathering_id)
            return
        stalest = self._awake(gathering_id)
        assert stalest is not None
        stalest.room.end(DispersalReason.EVICTED)
        await stalest.wait_gone()

    @asynccontextmanager
    async def keeping_out(self, gathering_id: str) -> AsyncIterator[None]:
        """Disperse a gathering, with reason `admin`, and let nobody open it within the block.

        Raises:
            HallClosed: The hall is closing.

        Cancellation: it goes on dispersing, and may be opened again.
        """
        while gathering_id in self._kept_out:
            await self._kept_out[gathering_id].wait()
        if self.closed:
            raise HallClosed("the hall is closed")
        over = self._kept_out[gathering_id] = trio.Event()
        try:
            await self.end(gathering_id, DispersalReason.ADMIN)
            yield
        finally:
            del self._kept_out[gathering_id]
            over.set()

    def reading(self, gathering_id: str) -> AbstractContextManager[trio.CancelScope]:
        """As `Incarnation.reading`, for the one that lives; it doesn't fall asleep meanwhile."""
        incarnation = self.living[gathering_id]
        assert isinstance(incarnation, Incarnation)
        return incarnation.reading()

    async def end(self, gathering_id: str, reason: DispersalReason) -> bool:
        """Disperse a gathering, and wait until it is gone; return whether it was there.

        Cancellation: it goes on dispersing.
        """
        await self._wait_moved(gathering_id)
        incarnation = self._awake(gathering_id)
        if incarnation is None:
            return False
        await incarnation.wait_opened()
        incarnation.room.end(reason)
        await incarnation.wait_gone()
        return True

    @contextmanager
    def changing(self, gathering_id: str) -> Iterator[Room | None]:
        """Let the room of an open gathering be changed within the block, which has no checkpoint.

        One that sleeps sleeps on. None where it isn't open.

        Raises:
            TakenAway: It is just given to another node.
        """
        if gathering_id in self.moving:
            raise TakenAway(f"gathering {gathering_id} is about to be another node's")
        one = self.living.get(gathering_id)
        if isinstance(one, Sleeper):
            with self.sleepers.changing(one) as room:
                yield room
        else:
            yield None if one is None or not one.room.accepting else one.room

    async def missed_notice(
        self, gathering_id: str, resume: str, since: int | None
    ) -> Dispersed | None:
        """Return the notice that a client has missed which returns to the incarnation `resume`.

        Returns:
            None if the incarnation hasn't ended, or if the client is to join again.

        Raises:
            OwnedElsewhere: Another node has the gathering.
            StoreUnavailable: Nobody knows now which node has it.
        """
        incarnation = self.living.get(gathering_id)
        if (
            isinstance(incarnation, Incarnation)
            and incarnation.opened
            and not incarnation.room.accepting
        ):
            await incarnation.wait_gone()
            incarnation = self.living.get(gathering_id)
        if incarnation is None and self.ownership is not None:
            await self.ownership.check_elsewhere(gathering_id)
            incarnation = self.living.get(gathering_id)
        if incarnation is not None or self.closed:
            return None
        return self.endings.notice_of(gathering_id, resume, since)

    def visited(self, gathering_id: str, *, counted: bool) -> None:
        """Note that somebody who needed the gathering doesn't need it any more."""
        incarnation = self.living.get(gathering_id)
        if isinstance(incarnation, Incarnation):
            incarnation.room.visited(counted=counted)

    def close_by(self, by: float) -> None:
        """Open nothing more; the hall is to be closed at the time `by`."""
        self.closed = True
        if self.lifecycle is not None:
            self.lifecycle.closing(by)

    async def close(self, by: float) -> None:
        """End all of them. What is still being processed at the time `by` is cancelled.

        Cancellation: they go on ending by themselves, after what they are processing.
        """
        self.close_by(by)
        with trio.move_on_at(by):
            for number, gathering_id in enumerate(tuple(self.living), start=1):
                self._close_one(gathering_id, by)
                if not number % AT_ONCE:
                    await trio.lowlevel.checkpoint()
            while self.living:
                incarnation = self._awake(next(iter(self.living)))
                assert incarnation is not None
                await incarnation.wait_opened()
                incarnation.room.end(DispersalReason.SHUTDOWN, by=by)
                await incarnation.wait_gone()
        self.nursery.cancel_scope.cancel()
        self.give_up()
        while self.living:
            incarnation = self._awake(next(iter(self.living)))
            assert incarnation is not None
            await incarnation.wait_gone()

    def give_up(self) -> None:
        """Open none any more, also none of those that are being opened.

        Until a gathering is restored, its task is cancelled with the caller that opens it, which
        may live on when the hall is cancelled: a store that never answers would hold the hall.
        """
        if not self.closed:
            self.close_by(trio.current_time() + self.settings.close_grace)
        for gathering_id, one in tuple(self.living.items()):
            if isinstance(one, Sleeper):
                self._close_one(gathering_id, math.inf)
            elif one.opening is not None:
                one.opening.cancel()

    def _close_one(self, gathering_id: str, by: float) -> None:
        """End one. One that sleeps goes on in the next process, if the store knows of it."""
        one = self.living.get(gathering_id)
        if isinstance(one, Sleeper) and self.sleepers.have_moved:
            del self.living[gathering_id]
            return
        if isinstance(one, Sleeper) and self.book is not None and not one.clients:
            del self.living[gathering_id]
            self.sleepers.drop(one)
            return
        incarnation = self._awake(gathering_id)
        if incarnation is not None:
            incarnation.room.is_kept = isinstance(one, Sleeper) and self.book is not None
            incarnation.room.end(DispersalReason.SHUTDOWN, by=by)

    # For another process, which goes on with all (`moving`, `succession`).

    @property
    def is_keeping_out(self) -> bool:
        """Whether there are gatherings that nobody may open now."""
        return bool(self._kept_out)

    def keeps_out(self, gathering_id: str) -> bool:
        """Whether one is one of these."""
        return gathering_id in self._kept_out

    def opener_of(self, gathering_id: str) -> tuple[str, str | None] | None:
        """Return who opened a gathering that lives."""
        one = self.living[gathering_id]
        if isinstance(one, Sleeper):
            return self.sleepers.opener_of(one)
        # As `quotas.opener_of` makes them.
        return cast(Opener, one.opener)

    async def _open(self, gathering_id: str, opener: Hashable) -> None:
        incarnation_id = new_incarnation_id(self.endings.mark)
        await self.start(self.make(gathering_id, opener, incarnation_id, self.given))

    def make(
        self,
        gathering_id: str,
        opener: Hashable,
        incarnation_id: str,
        given: GivenRules,
        inheritance: Inheritance | None = None,
    ) -> Incarnation:
        """Make an incarnation, which isn't restored yet."""
        room = self._make_room(gathering_id, incarnation_id, given)
        if self.lifecycle is not None and inheritance is None:
            room.life = Life(self.lifecycle, gathering_id, room.incarnation)
        incarnation = self._make_incarnation(room, opener)
        incarnation.gathering.inheritance = inheritance
        self.quotas.opened(opener)
        return incarnation

    def _make_room(self, gathering_id: str, incarnation_id: str, given: GivenRules) -> Room:
        return Room(
            gathering_id,
            self.settings,
            self.store,
            self.refreshes.rights.terms,
            incarnation_id,
            self.poison.of(gathering_id),
            self.quotas,
            given,
            presence=self.presence,
            lease=None if self.ownership is None else self.ownership.lease,
            turnstile=self.turnstile,
        )

    def _make_incarnation(self, room: Room, opener: Hashable) -> Incarnation:
        gathering = self.make_gathering(room, self.make_behaviour, self._on_gone, self.refreshes)
        gathering.sleep = self
        incarnation = self.living[room.id] = Incarnation(gathering, opener)
        return incarnation

    async def start(self, incarnation: Incarnation) -> None:
        """Have the task of an incarnation restore it. Raises, and is cancelled, as `find`.

        Trio moves the task out of this call only if this call isn't cancelled yet. So the task
        looks for that when it is restored, and isn't opened then: it would live on under a scope
        that is cancelled already, and tell whoever came at that moment `shutdown`.
        """
        room = incarnation.room
        try:
            with trio.CancelScope() as incarnation.opening:
                if self.ownership is not None and not await self._owns(incarnation):
                    return
                await self.nursery.start(run, incarnation.gathering, name=room.id)
            if incarnation.opening.cancelled_caught:
                raise HallClosed("the hall was closed")
        except GatheringsError as error:
            incarnation.error = error
            self.quotas.tally.failed_restores += 1
            raise
        else:
            if incarnation.gathering.inheritance is None:
                # One that another process has begun was opened there.
                self.opened += 1
                report_birth(room)
            if self.closed:
                room.end(DispersalReason.SHUTDOWN)
        finally:
            # All who wait for this opening look again, also when it was cancelled.
            incarnation.opened = True
            incarnation.opening = None
            incarnation.tell()

    # As one of several nodes.

    async def _owns(self, incarnation: Incarnation) -> bool:
        """Own the gathering of an incarnation that is to be opened; raises as `find`.

        Returns:
            Whether it is to be opened. Not so where another one sleeps, which goes on here.
        """
        assert self.ownership is not None
        gathering_id = incarnation.room.id
        try:
            estate = await self.ownership.claim(gathering_id)
        except BaseException:
            # It may be ours, and something may be left of it.
            self.ownership.is_in_doubt = True
            self._forget(incarnation)
            raise
        if estate is not None and estate.slept is not None:
            self._forget(incarnation)
            self.inherit([estate])
            return False
        if estate is not None:
            self._take(estate)
        return True

    def _forget(self, incarnation: Incarnation) -> None:
        incarnation.room.is_kept = True
        self._reap(incarnation.room.id)

    def inherit(self, estates: Collection[Estate]) -> None:
        """Go on with what other nodes have left of gatherings that are ours now.

        One that is just being opened is left to that, which finds the same.
        """
        assert self.ownership is not None
        new = [one for one in estates if one.gathering not in self.living]
        new = [one for one in new if not self.ownership.has_taken(one.gathering)]
        self.take_up([one.slept for one in new if one.slept is not None])
        for one in new:
            self._take(one)
            if one.slept is None:
                self.ownership.release(one.gathering)

    def _take(self, estate: Estate) -> None:
        assert self.ownership is not None
        if estate.lost is not None and self.lifecycle is not None:
            self.lifecycle.lost(estate.lost)
        self.ownership.took(estate.gathering)

    async def _wait_moved(self, gathering_id: str) -> None:
        """Wait until one isn't moved any more; a checkpoint only if it is.

        Raises `StoreUnavailable` if nobody can tell now whose it is.
        """
        while gathering_id in self.moving:
            assert self.ownership is not None
            self.ownership.check()
            await self.moving[gathering_id].wait()

    # Falling asleep on demand.

    async def evict(self, gathering_id: str, *, keeps_connections: bool) -> bool:
        """Have a gathering fall asleep. As `Hall.evict`."""
        one = self.living.get(gathering_id)
        if isinstance(one, Incarnation):
            await one.wait_opened()
            one = self.living.get(gathering_id)
        if one is None or not (isinstance(one, Sleeper) or one.room.accepting):
            return False
        if not keeps_connections:
            for client in tuple(crowd_of(one).people()):
                if client.room is not None:
                    client.room.gone(client)
                    client.close(CloseCode.GOING_AWAY, "evicted")
        if isinstance(one, Incarnation):
            await one.wait_asleep()
        return isinstance(self.living.get(gathering_id), Sleeper)

    # Sleeping. As `gathering.Sleep` says.

    def lay_down(self, gathering: Gathering) -> bool:
        """Let a gathering sleep, unless somebody waits for it, or it is to be left as it is."""
        room = gathering.room
        incarnation = self.living[room.id]
        assert isinstance(incarnation, Incarnation)
        if (
            self.closed
            or self.quotas.is_leaving
            or room.id in self._kept_out
            or incarnation.is_awaited
        ):
            return False
        sleeper = self.sleepers.lay_down(room, self.opener_of(room.id))
        gathering.fall_asleep()
        self.living[room.id] = sleeper
        incarnation.fell_asleep()
        return True

    def woke(self, gathering: Gathering) -> None:
        """Tell those who wait that it is restored."""
        self._incarnation_of(gathering).tell()

    def not_restored(self, gathering: Gathering, why: StoreUnavailable) -> None:
        """Tell those who wait that it can't be restored now."""
        self.quotas.tally.failed_restores += 1
        incarnation = self._incarnation_of(gathering)
        incarnation.trouble = why
        incarnation.tell()

    def strike(self, gathering: Gathering) -> None:
        """Have the store forget that it sleeps."""
        if self.book is not None:
            self.book.strike(gathering.room.incarnation)

    async def struck(self, gathering: Gathering) -> None:
        """Return when the store has. Raises `StoreUnavailable`."""
        if self.book is not None:
            await self.book.settle(gathering.room.incarnation)

    def take_up(self, slept: Collection[Slept]) -> None:
        """Go on with those that slept when an earlier process ended."""
        if not slept:
            return
        ahead = -self.sleepers.clock_ahead()
        newest: dict[str, Slept] = {}
        for one in sorted(slept, key=lambda one: one.state.opened_at):
            older = newest.get(one.gathering)
            if older is not None and self.book is not None:
                # A loss of power has brought it back.
                self.book.strike(older.state.incarnation)
            newest[one.gathering] = one
        alike: dict[Hashable, GivenRules] = {}
        for one in newest.values():
            given = self.given_to(one, alike)
            state = shifted(one.state, ahead)
            self.living[one.gathering] = self.sleepers.take_up(one.gathering, state, given)
            self.quotas.opened(state.opener)
            self.quotas.unattended(one.gathering)

    def given_to(self, slept: Slept, alike: dict[Hashable, GivenRules]) -> GivenRules:
        """Return the rules of one that slept: one object for all that have the same."""
        given = GivenRules.of(slept)
        if given == self.given:
            return self.given
        return alike.setdefault(given.key, given)

    def _incarnation_of(self, gathering: Gathering) -> Incarnation:
        incarnation = self.living[gathering.room.id]
        assert isinstance(incarnation, Incarnation)
        return incarnation

    def _awake(self, gathering_id: str) -> Incarnation | None:
        """Return the incarnation that lives, after rousing it if it sleeps."""
        one = self.living.get(gathering_id)
        if isinstance(one, Sleeper):
            one.rouse()
            one = self.living[gathering_id]
        assert not isinstance(one, Sleeper)
        return one

    def _wake(self, sleeper: Sleeper, room: Room, opener: Opener) -> None:
        """Have a task go on with one that has slept, in this room."""
        incarnation = self._make_incarnation(room, opener)
        incarnation.opened = True
        self.nursery.start_soon(run, incarnation.gathering, name=room.id)

    def _part(self, one: Waiting) -> Wake | None:
        """Give the notice of one that is due, if it can be given at once. As `Turnstile.part`."""
        incarnation = self.living.get(one.id)
        if not isinstance(incarnation, Incarnation):
            return None
        try:
            return part_at_once(incarnation.gathering)
        except Exception as error:
            # It crashes, and nobody else.
            incarnation.room.inbox.fail(error)
            return None

    def _reap(self, gathering_id: str) -> None:
        incarnation = self.living.pop(gathering_id)
        assert isinstance(incarnation, Incarnation)
        room = incarnation.room
        self.quotas.reaped(gathering_id, incarnation.opener)
        if room.life is not None:
            room.life.over()
        goes_on = room.is_kept or room.is_moved
        if room.reason is not None and not goes_on:
            self.ended[room.reason] += 1
        if room.notice is not None and not goes_on:
            self.endings.remember(room.notice)
        if room.suspects:
            self.poison.remember(gathering_id, room.suspects)
        if self.ownership is not None and not goes_on:
            self.ownership.release(gathering_id)
        incarnation.reaped()
