"""The registry: opens gatherings on demand, and forgets them when they are gone."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import cast

import trio
from attrs import define, field

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.incarnations import Endings, Incarnation
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.lifecycle import Life, Lifecycle
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.refreshes import Refreshes
from squire_gatherings._hall.reports import report_birth
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.turnstile import Turnstile
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.poison import Poison
from squire_gatherings._values.end_rules import EndRules, rules_of
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringsError, HallClosed
from squire_gatherings._values.handover import HallState, RoomState
from squire_gatherings._values.ids import new_hall_mark, new_incarnation_id
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.settings import HallSettings


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
    make_gathering: Callable[..., Gathering] = Gathering
    """Another one, where gatherings are traced."""
    quotas: Quotas = field(init=False)
    """What the gatherings may use up together."""
    given: GivenRules = field(init=False)
    """The rules by which gatherings end that are given no others: one object for all."""
    turnstile: Turnstile = field(factory=Turnstile)
    closed: bool = False
    """Whether the hall is closing, so that none is opened any more."""
    living: dict[str, Incarnation] = field(factory=dict)
    """By gathering id, from before the restore until it is reaped."""
    opened: int = 0
    """How many were opened so far."""
    ended: Counter[str] = field(factory=Counter)
    """How many have ended so far, by reason."""
    _kept_out: dict[str, trio.Event] = field(factory=dict)
    """Gatherings that nobody may open now; each event says that this is over."""
    _poison: Poison = field(factory=Poison)
    _endings: Endings = field(factory=lambda: Endings(new_hall_mark()))

    def __attrs_post_init__(self) -> None:
        self.quotas = Quotas(self.settings)
        self.given = GivenRules(rules_of(self.settings))

    def change_settings(self, settings: HallSettings) -> None:
        """Change the settings of what is opened from now on, and of what all share."""
        self.settings = settings
        self.given = GivenRules(rules_of(settings))
        if self.lifecycle is not None:
            self.lifecycle.max_events = settings.max_events
        self.quotas.change_settings(settings)

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

        Cancellation: an opening that this call began is given up.
        """
        while True:
            if self.closed:
                raise HallClosed("the hall is closed")
            incarnation = self.living.get(gathering_id)
            if gathering_id in self._kept_out:
                await self._kept_out[gathering_id].wait()
            elif incarnation is None:
                self.quotas.check_opening(gathering_id, opener)
                if self.lifecycle is not None:
                    self.lifecycle.check_opening(self.quotas, gathering_id)
                if self.quotas.is_full():
                    await self.living[self.quotas.stalest()].wait_gone()
                else:
                    await self._open(gathering_id, opener)
            elif incarnation.room.accepting:
                return incarnation.room
            elif not incarnation.opened:
                await incarnation.wait_opened()
                if incarnation.error is not None:
                    raise type(incarnation.error)(*incarnation.error.args) from incarnation.error
            else:
                await incarnation.wait_gone()

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
            incarnation = self.living.get(gathering_id)
            if incarnation is not None:
                await incarnation.wait_opened()
                incarnation.room.end(DispersalReason.ADMIN)
                await incarnation.wait_gone()
            yield
        finally:
            del self._kept_out[gathering_id]
            over.set()

    async def missed_notice(
        self, gathering_id: str, resume: str, since: int | None
    ) -> Dispersed | None:
        """Return the notice that a client has missed which returns to the incarnation `resume`.

        Returns:
            None if the incarnation hasn't ended, or if the client is to join again.
        """
        incarnation = self.living.get(gathering_id)
        if incarnation is not None and incarnation.opened and not incarnation.room.accepting:
            await incarnation.wait_gone()
            incarnation = self.living.get(gathering_id)
        if incarnation is not None or self.closed:
            return None
        return self._endings.notice_of(gathering_id, resume, since)

    def visited(self, gathering_id: str, *, counted: bool) -> None:
        """Note that somebody who needed the gathering doesn't need it any more."""
        incarnation = self.living.get(gathering_id)
        if incarnation is not None:
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
            for incarnation in tuple(self.living.values()):
                incarnation.room.end(DispersalReason.SHUTDOWN, by=by)
            while self.living:
                incarnation = next(iter(self.living.values()))
                await incarnation.wait_opened()
                incarnation.room.end(DispersalReason.SHUTDOWN, by=by)
                await incarnation.wait_gone()
        self.nursery.cancel_scope.cancel()
        self.give_up()
        while self.living:
            await next(iter(self.living.values())).wait_gone()

    def give_up(self) -> None:
        """Open none any more, also none of those that are being opened.

        Until a gathering is restored, its task is cancelled with the caller that opens it, which
        may live on when the hall is cancelled: a store that never answers would hold the hall.
        """
        if not self.closed:
            self.close_by(trio.current_time() + self.settings.close_grace)
        for incarnation in self.living.values():
            if incarnation.opening is not None:
                incarnation.opening.cancel()

    # Handing over.

    @property
    def is_keeping_out(self) -> bool:
        """Whether there are gatherings that nobody may open now."""
        return bool(self._kept_out)

    def opener_of(self, gathering_id: str) -> tuple[str, str | None] | None:
        """Return who opened a gathering that lives."""
        opener = self.living[gathering_id].opener
        # As `quotas.opener_of` makes them.
        return cast(tuple[str, str | None] | None, opener)

    def state(self, rights: Rights) -> HallState:
        """Return what another process goes on with, besides the gatherings themselves."""
        revoked, roles = rights.overrides.state()
        count, forgotten, changed = rights.state()
        return HallState(
            self._endings.mark,
            self._endings.state(),
            self._poison.state(),
            revoked,
            roles,
            count,
            forgotten,
            changed,
            self.opened,
            {str(reason): count for reason, count in self.ended.items()},
        )

    def resume(self, state: HallState, rights: Rights) -> None:
        """Go on for another process."""
        self._endings.resume(state.mark, state.endings)
        for gathering, scope, sync_id in state.poison:
            self._poison.remember(gathering, [(scope, sync_id)])
        rights.overrides.resume(state.revoked, state.roles)
        rights.resume(state.rights_count, state.rights_forgotten, state.rights_changed)
        self.opened = state.opened
        self.ended.update(state.ended)

    def adopt(self, state: RoomState, inheritance: Inheritance) -> Incarnation:
        """Have an incarnation here that lives in another process; `start` restores it."""
        given, rules = self.given, state.rules
        if rules is not None or state.changes:
            base = given.base if rules is None else EndRules(**rules)  # type: ignore[arg-type]
            given = GivenRules(base, changes=dict(state.changes))
        return self._make(state.id, state.opener, state.incarnation, given, inheritance)

    async def _open(self, gathering_id: str, opener: Hashable) -> None:
        incarnation_id = new_incarnation_id(self._endings.mark)
        await self.start(self._make(gathering_id, opener, incarnation_id, self.given))

    def _make(
        self,
        gathering_id: str,
        opener: Hashable,
        incarnation_id: str,
        given: GivenRules,
        inheritance: Inheritance | None = None,
    ) -> Incarnation:
        room = Room(
            gathering_id,
            self.settings,
            self.store,
            self.refreshes.rights.terms,
            incarnation_id,
            self._poison.of(gathering_id),
            self.quotas,
            given,
            turnstile=self.turnstile,
        )
        if self.lifecycle is not None:
            room.life = Life(self.lifecycle, gathering_id, room.incarnation)
        gathering = self.make_gathering(room, self.make_behaviour, self._reap, self.refreshes)
        gathering.inheritance = inheritance
        incarnation = self.living[gathering_id] = Incarnation(gathering, opener)
        self.quotas.opened(opener)
        return incarnation

    async def start(self, incarnation: Incarnation) -> None:
        """Have the task of an incarnation restore it. Raises, and is cancelled, as `find`."""
        room = incarnation.room
        try:
            with trio.CancelScope() as incarnation.opening:
                await self.nursery.start(incarnation.gathering.run, name=room.id)
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

    def _reap(self, gathering_id: str) -> None:
        incarnation = self.living.pop(gathering_id)
        room = incarnation.room
        self.quotas.reaped(gathering_id, incarnation.opener)
        if room.life is not None:
            room.life.over()
        if room.reason is not None:
            self.ended[room.reason] += 1
        if room.notice is not None:
            self._endings.remember(room.notice)
        if room.suspects:
            self._poison.remember(gathering_id, room.suspects)
        incarnation.reaped()
