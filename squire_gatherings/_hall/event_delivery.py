"""The delivery of lifecycle events: from the store to the program, one after the other.

What was delivered is forgotten by the store. So an event is delivered at least once, and again
only if the process, or the store, fails in between.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

import trio
from attrs import define, field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from squire_gatherings._hall.event_store import event_store_of
from squire_gatherings._hall.lifecycle import Lifecycle
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Store, store_trouble
from squire_gatherings._values.errors import BadSetting, StoreUnavailable, Undelivered
from squire_gatherings._values.events import EventNumbers, LifecycleEvent
from squire_gatherings._values.handover import EventsState
from squire_gatherings._values.settings import HallSettings

_log = logging.getLogger(__name__)

OnEvent = Callable[[LifecycleEvent], Awaitable[object]]
"""A program's function for lifecycle events. Its return says that the event has been taken."""

PAGE = 100
"""How many events are read, and forgotten, at once: so many a kill may have delivered again."""

FIRST_PAUSE = 0.5
"""How many seconds pass at most until a delivery that failed is tried again; then twice as many."""

LONGEST_PAUSE = 60.0
"""How many seconds pass at most between two tries."""

LAST_FLUSH = 0.25
"""How many seconds the last flush has at least, and the last words to the store after it."""


@runtime_checkable
class EventSink(Protocol):
    """Where lifecycle events are delivered to, if not to a function: a `Webhook`, say."""

    async def deliver(self, events: Sequence[LifecycleEvent]) -> int:
        """Deliver the first of these events; return how many, at least one.

        What it raises says that none was delivered: it is called again later, an `Undelivered`
        with a `pause` after that many seconds.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what it holds: nothing more is to be delivered."""
        ...


@define(eq=False)
class _Callback:
    """A function as an `EventSink`."""

    call: OnEvent

    async def deliver(self, events: Sequence[LifecycleEvent]) -> int:
        await self.call(events[0])
        return 1

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Delivery:
    """Delivers the events of one hall, in their order, one call at a time."""

    lifecycle: Lifecycle
    sink: EventSink
    failing_since: float | None = None
    _at: int = 0
    """The number of the last event that was delivered."""
    _forgotten: int = 0
    """The number up to which the store has forgotten them."""
    _is_last_try: bool = False
    _turn: trio.Lock = field(factory=trio.Lock)
    """Held while something is delivered, or forgotten; and during a pause."""
    _calling: trio.CancelScope = field(factory=trio.CancelScope)
    """Around what is being delivered."""
    _has_left: bool = False
    """Whether another process goes on."""
    _scope: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True))
    _retrying: AsyncRetrying = field(init=False)

    def __attrs_post_init__(self) -> None:
        backoff = wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(Exception),
            wait=lambda state: max(backoff(state), _asked_pause(state)),
            stop=lambda _: self._is_last_try,
            sleep=self._pause,
            before_sleep=self._failed,
            retry_error_callback=lambda _: (),
        )

    async def run(self) -> None:
        """Deliver what is in the store, and what comes, until all is or `stop`'s time is over.

        Cancellation: it is shielded until then, since gatherings that are cancelled tell of it.
        """
        lifecycle = self.lifecycle
        try:
            with self._scope:
                while not (lifecycle.has_ended and self._at >= lifecycle.durable):
                    if self._at >= lifecycle.durable:
                        await self._forget()
                        if self._at >= lifecycle.durable and not lifecycle.has_ended:
                            await lifecycle.written.wait()
                    elif not await self._deliver_page():
                        break
        finally:
            with trio.move_on_after(LAST_FLUSH, shield=True):
                if not self._has_left:
                    await self._forget()
                await self.sink.aclose()
        if lifecycle.waiting and not self._has_left:
            extra = {"waiting": lifecycle.waiting}
            _log.warning("events wait for the next start to be delivered", extra=extra)

    def stop(self, deadline: float) -> None:
        """End at the deadline."""
        self._scope.deadline = deadline

    # Handing over.

    @asynccontextmanager
    async def paused(self, within: float) -> AsyncIterator[None]:
        """Deliver nothing within the block.

        What is being delivered may take so many seconds; then it is called off, and it comes again
        later. What was delivered is forgotten by the store. Cancellation: goes on.
        """
        with trio.move_on_after(within):
            await self._turn.acquire()
        if self._turn.statistics().owner is not trio.lowlevel.current_task():
            self._calling.cancel()
            await self._turn.acquire()
        try:
            await self._forget_now()
            yield
        finally:
            self._turn.release()

    def state(self) -> EventsState | None:
        """Return where another process goes on, in a pause; None if something is under way."""
        return self.lifecycle.state(self._at)

    def leave(self) -> None:
        """Note that another process goes on: nothing is delivered here any more."""
        self._has_left = True
        self._scope.cancel()

    def resume(self, state: EventsState) -> None:
        """Go on for another process."""
        self._at = self._forgotten = state.at
        self.lifecycle.resume(state)

    def numbers(self) -> EventNumbers:
        """Return the operator's numbers."""
        lifecycle = self.lifecycle
        return EventNumbers(
            lifecycle.waiting, lifecycle.delivered, lifecycle.omitted, self.failing_since
        )

    async def _deliver_page(self) -> bool:
        """Deliver the next events; return whether to go on."""
        events: Sequence[LifecycleEvent] = await self._retrying(self._read)
        if not events:
            return not self._is_last_try
        while events:
            delivered: Sequence[LifecycleEvent] = await self._retrying(self._deliver, events)
            if not delivered:
                return False
            events = events[len(delivered) :]
        if self._at - self._forgotten >= PAGE:
            await self._forget()
        return True

    async def _read(self) -> Sequence[LifecycleEvent]:
        up_to = self.lifecycle.durable
        with store_trouble():
            events = await self.lifecycle.store.read_events(after=self._at, up_to=up_to, limit=PAGE)
        if not events:
            # What was there is there no more: somebody has changed the store.
            self._at = up_to
        return events

    async def _deliver(self, events: Sequence[LifecycleEvent]) -> Sequence[LifecycleEvent]:
        while True:
            async with self._turn:
                with trio.CancelScope() as self._calling:
                    count = await self.sink.deliver(events)
                    self._delivered(events, count)
                    return events[:count]

    def _delivered(self, events: Sequence[LifecycleEvent], count: int) -> None:
        if not isinstance(count, int) or not 1 <= count <= len(events):
            raise TypeError(f"{count!r:.80} of {len(events)} events were delivered")
        self._at = events[count - 1].number
        self.lifecycle.delivered += count
        if self.failing_since is not None:
            seconds = round(trio.current_time() - self.failing_since, 3)
            _log.warning("events are delivered again", extra={"after": seconds})
            self.failing_since = None

    async def _forget(self) -> None:
        """Have the store forget what was delivered. If it can't now, it is asked again later."""
        async with self._turn:
            await self._forget_now()

    async def _forget_now(self) -> None:
        at = self._at
        if at > self._forgotten:
            try:
                with store_trouble():
                    await self.lifecycle.store.forget_events(up_to=at)
            except StoreUnavailable as error:
                extra = {"why": str(error)}
                _log.debug("events that were delivered can't be forgotten now", extra=extra)
            else:
                self._forgotten = at

    async def _failed(self, state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        if self.failing_since is None:
            self.failing_since = trio.current_time()
            is_said = isinstance(error, Undelivered | StoreUnavailable)
            _log.warning(
                "events can't be delivered, and wait",
                exc_info=None if is_said else error,
                extra={
                    "why": str(error) or type(error).__name__,
                    "waiting": self.lifecycle.waiting,
                },
            )
        await self._forget()

    async def _pause(self, seconds: float) -> None:
        """Wait; but at the end there is one last try, at once."""
        with trio.move_on_after(seconds):
            while not self.lifecycle.has_ended:
                await self.lifecycle.written.wait()
            self._is_last_try = True


def _asked_pause(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    return error.pause if isinstance(error, Undelivered) else 0.0


@asynccontextmanager
async def open_events(
    store: Store,
    on_event: OnEvent | EventSink,
    wall: Callable[[], float],
    settings: HallSettings,
    asleep: Collection[str] = (),
    *,
    follows: bool = False,
    make_delivery: Callable[[Lifecycle, EventSink], Delivery] = Delivery,
) -> AsyncIterator[Delivery]:
    """Tell the events of a hall from its store, for as long as the block lasts.

    Args:
        store: The hall's.
        on_event: Where to.
        wall: Returns the time of day.
        settings: The hall's.
        asleep: The incarnations that sleep since an earlier process: these go on.
        follows: Whether another process tells them until `Delivery.resume`.
        make_delivery: Makes what delivers them.

    Raises:
        BadSetting: The store has no outbox, or another hall has it; or `on_event` is nothing that
            can be called.
        StoreUnavailable: The store can't be read now.

    Cancellation: what the block has told by its end is made durable, and delivered, within
    `close_grace` seconds; see `Lifecycle.closing`.
    """
    if isinstance(on_event, EventSink):
        sink: EventSink = on_event
    elif callable(on_event):
        sink = _Callback(on_event)
    else:
        raise BadSetting(f"on_event is an async function or an EventSink, not {on_event!r:.80}")
    lifecycle = Lifecycle(
        event_store_of(store), wall, settings.max_events, settings.commit_retry_interval
    )
    await lifecycle.begin(asleep, follows=follows)
    delivery = make_delivery(lifecycle, sink)
    try:
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(lifecycle.run)
            nursery.start_soon(delivery.run)
            try:
                yield delivery
            finally:
                now = trio.current_time()
                by = max(now, min(now + settings.close_grace, lifecycle.by)) + LAST_FLUSH
                lifecycle.stop(by)
                delivery.stop(by)
    finally:
        lifecycle.store.end_events()
