"""Lifecycle events in memory, until they are delivered: as durable as the process."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import trio
from attrs import define, field

from squire_gatherings._stores.common import EVENTS_IN_USE
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.events import (
    EventKind,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)


@define(eq=False)
class MemoryEvents:
    """The part of the store in memory that keeps events; see `_hall.event_store`."""

    _events: OrderedDict[int, LifecycleEvent] = field(factory=OrderedDict, init=False)
    """What isn't delivered, by number."""
    _last_event: int = field(default=0, init=False)
    _open: dict[str, LifecycleEvent] = field(factory=dict, init=False)
    """The `opened` of each incarnation that hasn't dispersed."""
    _tells_events: bool = field(default=False, init=False)

    async def begin_events(self) -> EventsLeft:
        """Take the outbox for one hall, and say what is in it. Raises `BadSetting`."""
        await trio.lowlevel.checkpoint()
        if self._tells_events:
            raise BadSetting(EVENTS_IN_USE)
        self._tells_events = True
        left = tuple(OpenIncarnation(opened, None) for opened in self._open.values())
        return EventsLeft(self._last_event, len(self._events), left)

    def end_events(self) -> None:
        """Give the outbox back."""
        self._tells_events = False

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Take events; those that are known count once."""
        await trio.lowlevel.checkpoint()
        for event in events:
            if event.number <= self._last_event:
                continue
            self._last_event = event.number
            self._events[event.number] = event
            if event.kind is EventKind.OPENED:
                self._open[event.incarnation] = event
            elif event.kind is EventKind.DISPERSED:
                self._open.pop(event.incarnation, None)

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Return the first events that weren't delivered."""
        await trio.lowlevel.checkpoint()
        found = (event for number, event in self._events.items() if after < number <= up_to)
        return tuple(islice(found, limit))

    async def forget_events(self, *, up_to: int) -> None:
        """Forget what was delivered."""
        await trio.lowlevel.checkpoint()
        while self._events and next(iter(self._events)) <= up_to:
            self._events.popitem(last=False)
