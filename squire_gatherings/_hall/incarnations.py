"""Incarnations: what a hall knows of the ones that live, and of the ones that have ended."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringsError, StoreUnavailable
from squire_gatherings._values.handover import EndingState
from squire_gatherings._values.messages import Dispersed

REMEMBERED = 1024
"""How many last notices are remembered. Of older incarnations only that they have ended."""

_COME_BACK = (
    DispersalReason.CRASHED,
    DispersalReason.SHUTDOWN,
    DispersalReason.MOVED,
    DispersalReason.EVICTED,
)
"""After these ends a client joins again: if it were told of them then, it would never get in."""


@define(eq=False, weakref_slot=False)
class Incarnation:
    """The registry's entry for an incarnation, from before its restore until it is reaped."""

    gathering: Gathering
    opener: Hashable = None
    """Who opened it, where that is known. It counts as this one's."""
    opened: bool = False
    """Whether the opening is over, well or with an `error`."""
    gone: bool = False
    error: GatheringsError | None = None
    opening: trio.CancelScope | None = None
    """Ends the opening, while it's under way."""
    trouble: StoreUnavailable | None = None
    """Why it wasn't restored after a sleep, when that was tried last."""
    asleep: trio.Event | None = None
    """Set when it has fallen asleep, or is gone; made by those who wait for that."""
    _readers: set[trio.CancelScope] | None = None
    """Of joins that read what they need of the store, while there are any."""
    _changed: trio.Event | None = None
    """Made only when somebody waits, which is seldom: it would be the largest part of this."""

    @property
    def room(self) -> Room:
        """What it has."""
        return self.gathering.room

    def tell(self) -> None:
        """Wake all who wait."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    @contextmanager
    def reading(self) -> Iterator[trio.CancelScope]:
        """Cancel what runs inside when it is reaped: nobody waits for a store on its behalf."""
        with trio.CancelScope() as scope:
            readers = self._readers = self._readers or set()
            readers.add(scope)
            try:
                yield scope
            finally:
                readers.discard(scope)
                if not readers:
                    self._readers = None

    def reaped(self) -> None:
        """It's gone. Tell all who wait, and end what is read for it."""
        self.gone = True
        self.fell_asleep()
        for scope in self._readers or ():
            scope.cancel()
        self.tell()

    async def wait_opened(self) -> None:
        """Wait until the opening is over."""
        while not self.opened:
            await self._wait()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for something to change, or reads for a join."""
        return self._changed is not None or self._readers is not None

    async def wait_awake(self) -> None:
        """Wait until it is restored after a sleep, or can't be, or is gone.

        Raises:
            StoreUnavailable: It can't be restored now.
        """
        room = self.room
        while room.is_resting and room.accepting and not self.gone:
            room.is_called, self.trouble = True, None
            await self._wait()
            if self.trouble is not None:
                raise StoreUnavailable(str(self.trouble)) from self.trouble

    def fell_asleep(self) -> None:
        """Tell those who wait for that."""
        if self.asleep is not None:
            self.asleep.set()

    async def wait_asleep(self) -> None:
        """Have it fall asleep as soon as nothing is under way; wait until it has, or is gone."""
        if self.asleep is None:
            self.asleep = trio.Event()
        self.room.fall_asleep_soon()
        await self.asleep.wait()

    async def wait_gone(self) -> None:
        """Wait until it is reaped."""
        while not self.gone:
            self.room.hurry()
            await self._wait()

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()


def crowd_of(one: Incarnation | Sleeper) -> Room | Sleeper:
    """Return what knows the clients of one that lives."""
    return one.room if isinstance(one, Incarnation) else one


@define(eq=False)
class Endings:
    """How the incarnations of one hall ended, for clients who weren't there to be told.

    The ids of this hall's incarnations begin with `mark`.
    """

    mark: str
    _last: OrderedDict[str, Dispersed] = field(factory=OrderedDict)

    def remember(self, notice: Dispersed) -> None:
        """Remember the last notice of an incarnation."""
        self._last[notice.incarnation] = notice
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)

    def state(self) -> list[EndingState]:
        """Return the last notices, for another process, the oldest first."""
        return [
            EndingState(one.gathering, one.incarnation, one.reason, one.seq, one.idle_for)
            for one in self._last.values()
        ]

    def resume(self, mark: str, endings: Iterable[EndingState]) -> None:
        """Go on for another process: its incarnations count as ours, and so do their ends."""
        self.mark = mark
        for one in endings:
            reason = DispersalReason(one.reason)
            self.remember(Dispersed(one.gathering, one.incarnation, reason, one.seq, one.idle_for))

    def notice_of(self, gathering: str, incarnation: str, since: int | None) -> Dispersed | None:
        """Return the notice that a client has missed whose incarnation has ended.

        Returns:
            None where the client is to join again: after an end from which clients come back by
            themselves, and where the incarnation was another process's, so that nobody here knows
            how it ended. Also where it was another gathering's, which is none of its business.
        """
        notice = self._last.get(incarnation)
        if notice is None:
            if not incarnation.startswith(self.mark):
                return None
            return Dispersed(gathering, incarnation, DispersalReason.IDLE, since or 0, 0.0)
        if notice.gathering != gathering or notice.reason in _COME_BACK:
            return None
        return notice
