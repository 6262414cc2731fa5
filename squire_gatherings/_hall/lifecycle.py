"""The lifecycle: what happens to a hall's gatherings becomes events, in one order, in the store.

An event is queued at the moment at which it happens, and without waiting. One task brings what is
queued into the store, many events with each commit. What must be durable before anybody sees it
(that a gathering was opened, that somebody joined first) is waited for.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Any

import trio
from attrs import define, field

from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.events import (
    LOST,
    EventKind,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)
from squire_gatherings._values.handover import EventsState

_log = logging.getLogger(__name__)

AT_ONCE = 1000
"""How many events go into one commit at most."""

QUEUED = 10_000
"""How many events may wait for the store until what isn't owed is left out."""

OWED = 3
"""The events that an incarnation may bring in any case: that it opened, that somebody joined first,
and that it dispersed. Their places are kept while it lives."""


def _shield() -> trio.CancelScope:
    return trio.CancelScope(shield=True)


@define(eq=False)
class Lifecycle:
    """The events of one hall, on their way into the store.

    After `begin`, `run` must be running.
    """

    store: EventStore
    wall: Callable[[], float]
    max_events: int
    """How many events may wait, in the store and for it, and be owed."""
    retry_interval: float
    """How many seconds pass until a commit that failed is tried again."""
    written: trio.Event = field(factory=trio.Event)
    """Is set, and replaced by another, when a commit has succeeded or failed, and at the end."""
    durable: int = 0
    """The number of the last event that is in the store."""
    trouble: StoreUnavailable | None = None
    """Why the last commit failed."""
    delivered: int = 0
    """How many events were delivered so far."""
    omitted: int = 0
    is_over: bool = False
    """Whether no more events come."""
    has_ended: bool = False
    """Whether `run` has returned: nothing more becomes durable."""
    by: float = math.inf
    """When the hall is to be closed."""
    owed: int = 0
    """How many places are kept for events to come."""
    _stored: int = 0
    """How many events came into the store, or were in it at the beginning."""
    _number: int = 0
    _queue: deque[LifecycleEvent] = field(factory=deque)
    """What isn't in the store yet."""
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _waiters: list[tuple[int, int, trio.Event]] = field(factory=list)
    """A heap of those who wait for an event to be in the store, by its number."""
    _order: Iterator[int] = field(factory=count)
    _scope: trio.CancelScope = field(factory=_shield)

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self._number

    @property
    def waiting(self) -> int:
        """How many events aren't delivered."""
        return self._stored - self.delivered + len(self._queue)

    # From the beginning to the end.

    async def begin(self, asleep: Collection[str] = (), *, follows: bool = False) -> None:
        """Take the store's outbox, and tell the ends of those that an earlier process left open.

        Args:
            asleep: The incarnations that sleep: these go on.
            follows: Whether that process still tells them: we do once `resume` is called.

        Raises:
            BadSetting: Another hall has it.
            StoreUnavailable: The store can't be read now.

        Cancellation: nothing was taken.
        """
        left = await self.store.begin_events()
        if not isinstance(left, EventsLeft):
            raise TypeError(f"begin_events returned {left!r:.80}")
        if follows:
            return
        self._number = self.durable = left.last
        self._stored = left.waiting
        lost = [one for one in left.open if one.opened.incarnation not in asleep]
        for one in lost:
            self.lost(one)
        if lost:
            _log.warning(
                "gatherings were open when the last process ended without notice",
                extra={"gatherings": len(lost)},
            )

    async def run(self) -> None:
        """Bring events into the store until `stop` was called and all are there.

        Cancellation: it is shielded until `stop`, since gatherings that are cancelled tell of it.
        """
        try:
            with self._scope:
                while self._queue or not self.is_over:
                    if self._queue:
                        await self._write()
                    else:
                        await self._arrived.park()
        finally:
            if self._queue:
                extra = {"waiting": len(self._queue)}
                _log.error("events were lost: the next start tells of those ends", extra=extra)
            self.has_ended = True
            self._tell(math.inf)

    # Handing over.

    def state(self, at: int) -> EventsState | None:
        """Return where another process goes on; None while something isn't in the store.

        `at` is the number of the last event that was delivered.
        """
        if self._queue or self.trouble is not None:
            return None
        return EventsState(self._number, at, self._stored, self.delivered, self.omitted)

    def resume(self, state: EventsState) -> None:
        """Go on for another process."""
        self._number = self.durable = state.number
        self._stored, self.delivered = state.stored, state.delivered
        self.omitted = state.omitted
        self._tell(self.durable)

    def found(self, waiting: int) -> None:
        """Note how many events wait in the store, where several nodes share it."""
        self._stored = waiting + self.delivered

    def closing(self, by: float) -> None:
        """The hall is being closed, and is to be so at the time `by`."""
        self.by = min(self.by, by)

    def stop(self, deadline: float) -> None:
        """No more events come; `run` ends once all are in the store, or at the deadline."""
        self.is_over = True
        self._scope.deadline = deadline
        self._arrived.unpark_all()

    async def _write(self) -> None:
        some = [self._queue[number] for number in range(min(AT_ONCE, len(self._queue)))]
        try:
            with store_trouble():
                await self.store.write_events(some)
        except StoreUnavailable as error:
            if self.trouble is None:
                extra = {"why": str(error)}
                _log.warning("events can't be written, so nothing is opened", extra=extra)
            self.trouble = error
            self._tell(math.inf)
            await trio.sleep(self.retry_interval)
            return
        if self.trouble is not None:
            _log.warning("events are written again")
            self.trouble = None
        for _ in some:
            self._queue.popleft()
        self._stored += len(some)
        self.durable = some[-1].number
        self._tell(self.durable)

    def _tell(self, number: float) -> None:
        """Wake those who wait for events up to this one."""
        while self._waiters and self._waiters[0][0] <= number:
            heappop(self._waiters)[-1].set()
        self.written.set()
        self.written = trio.Event()

    # What happens.

    def check_opening(self, quotas: Quotas, gathering: str) -> None:
        """Check whether there is a place for the events of one more incarnation.

        Raises:
            Full: Too many events wait to be delivered.
            StoreUnavailable: Events can't be written now.
        """
        if self.trouble is not None:
            raise StoreUnavailable(str(self.trouble)) from self.trouble
        if self.waiting + self.owed + OWED > self.max_events:
            why = f"{self.waiting} lifecycle events wait to be delivered: {self.max_events} may"
            raise quotas.refuse(Limit.EVENTS, why, gathering=gathering)

    def put(
        self, gathering: str, incarnation: str, mark: object, kind: EventKind, data: dict[str, Any]
    ) -> int:
        """Queue an event; return its number.

        Args:
            gathering: The gathering's id.
            incarnation: The incarnation's.
            mark: What tells the event from others of the incarnation.
            kind: What has happened.
            data: What else there is to tell.
        """
        self._number += 1
        time = int(self.wall() * 1000)
        event = LifecycleEvent(
            self._number, f"{incarnation}-{mark}", gathering, incarnation, kind, time, data
        )
        self._queue.append(event)
        self._arrived.unpark_all()
        return self._number

    def lost(self, one: OpenIncarnation) -> None:
        """Tell the end of one that was open when its process ended without notice."""
        opened = one.opened
        data = {"reason": LOST, "seq": one.seq, "opened_at": opened.time}
        data.update(lifetime=None, lateness=None, messages=None)
        self.put(opened.gathering, opened.incarnation, LOST, EventKind.DISPERSED, data)

    def has_place(self, *, at_start: bool = False) -> bool:
        """Whether there is a place for an event that isn't owed to anybody.

        At the start, as many may wait for the store at once as have slept.
        """
        fits = at_start or len(self._queue) < QUEUED
        return fits and self.waiting + self.owed < self.max_events

    @property
    def is_shared(self) -> bool:
        """Whether several nodes tell their events to the same store."""
        return isinstance(self.store, OwnerStore)

    async def settle(self) -> None:
        """Return once all that has happened so far is in the store.

        Raises:
            StoreUnavailable: It can't be written now. It will be tried again.

        Cancellation: it is written all the same.
        """
        await self.wait_durable(self._number)

    async def wait_durable(self, number: int) -> None:
        """Wait until an event is in the store.

        Raises:
            StoreUnavailable: It can't be written now. It will be tried again.

        Cancellation: it is written all the same.
        """
        if self.durable < number and not self.has_ended:
            woken = trio.Event()
            heappush(self._waiters, (number, next(self._order), woken))
            await woken.wait()
        if self.durable < number:
            raise StoreUnavailable(str(self.trouble or "the hall's events have ended"))
