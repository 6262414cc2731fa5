"""The registry: the incarnations of a hall, from before their restore until they are reaped.

`opening`, `closing` and `taking_up` are what is done with it on demand.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import trio
from attrs import define, field

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.incarnations import Endings, Incarnation
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.life import Life
from squire_gatherings._hall.lifecycle import Lifecycle
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.parting import part_at_once
from squire_gatherings._hall.presence import Presences
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.running import run
from squire_gatherings._hall.sleep_book import SleepBook
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.sleepers import Opener, Sleepers
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.turnstile import Turnstile, Waiting, Wake
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.poison import Poison
from squire_gatherings._values.end_rules import rules_of
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import (
    StoreUnavailable,
    TakenAway,
)
from squire_gatherings._values.ids import new_hall_mark
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.settings import HallSettings

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
    kept_out: dict[str, trio.Event] = field(factory=dict)
    """Gatherings that nobody may open now; each event says that this is over."""

    _on_gone: Callable[[str], None] = field(init=False)
    """`reap`, bound once for all."""

    def __attrs_post_init__(self) -> None:
        self._on_gone = self.reap
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

    def reading(self, gathering_id: str) -> AbstractContextManager[trio.CancelScope]:
        """As `Incarnation.reading`, for the one that lives; it doesn't fall asleep meanwhile."""
        incarnation = self.living[gathering_id]
        assert isinstance(incarnation, Incarnation)
        return incarnation.reading()

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

    def give_up(self) -> None:
        """Open none any more, also none of those that are being opened.

        Until a gathering is restored, its task is cancelled with the caller that opens it, which
        may live on when the hall is cancelled: a store that never answers would hold the hall.
        """
        if not self.closed:
            self.close_by(trio.current_time() + self.settings.close_grace)
        for gathering_id, one in tuple(self.living.items()):
            if isinstance(one, Sleeper):
                self.close_one(gathering_id, math.inf)
            elif one.opening is not None:
                one.opening.cancel()

    def close_one(self, gathering_id: str, by: float) -> None:
        """End one. One that sleeps goes on in the next process, if the store knows of it."""
        one = self.living.get(gathering_id)
        if isinstance(one, Sleeper) and self.sleepers.have_moved:
            del self.living[gathering_id]
            return
        if isinstance(one, Sleeper) and self.book is not None and not one.clients:
            del self.living[gathering_id]
            self.sleepers.drop(one)
            return
        incarnation = self.awake(gathering_id)
        if incarnation is not None:
            incarnation.room.is_kept = isinstance(one, Sleeper) and self.book is not None
            incarnation.room.end(DispersalReason.SHUTDOWN, by=by)

    def opener_of(self, gathering_id: str) -> tuple[str, str | None] | None:
        """Return who opened a gathering that lives."""
        one = self.living[gathering_id]
        if isinstance(one, Sleeper):
            return self.sleepers.opener_of(one)
        # As `quotas.opener_of` makes them.
        return cast(Opener, one.opener)

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

    # As one of several nodes.

    async def wait_moved(self, gathering_id: str) -> None:
        """Wait until one isn't moved any more; a checkpoint only if it is.

        Raises `StoreUnavailable` if nobody can tell now whose it is.
        """
        while gathering_id in self.moving:
            assert self.ownership is not None
            self.ownership.check()
            await self.moving[gathering_id].wait()

    # Sleeping. As `gathering.Sleep` says.

    def lay_down(self, gathering: Gathering) -> bool:
        """Let a gathering sleep, unless somebody waits for it, or it is to be left as it is."""
        room = gathering.room
        incarnation = self.living[room.id]
        assert isinstance(incarnation, Incarnation)
        if (
            self.closed
            or self.quotas.is_leaving
            or room.id in self.kept_out
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

    def _incarnation_of(self, gathering: Gathering) -> Incarnation:
        incarnation = self.living[gathering.room.id]
        assert isinstance(incarnation, Incarnation)
        return incarnation

    def awake(self, gathering_id: str) -> Incarnation | None:
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

    def reap(self, gathering_id: str) -> None:
        """Forget one of which nothing is left to do, and note how it ended."""
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
