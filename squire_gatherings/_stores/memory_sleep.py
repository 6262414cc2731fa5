"""Who sleeps, in memory: a hall that is opened later on the same store goes on with them."""

from collections.abc import Sequence

import trio
from attrs import define, field

from squire_gatherings._stores.memory_events import MemoryEvents
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.sleep import Slept


@define(eq=False)
class MemorySleep(MemoryEvents):
    """The part of the store in memory that remembers who sleeps; see `_hall.sleep_store`."""

    _asleep: dict[str, Slept] = field(factory=dict, init=False)
    """By incarnation."""

    async def sleeping(self) -> tuple[Slept, ...]:
        """Return those that slept when earlier halls ended."""
        await trio.lowlevel.checkpoint()
        return tuple(self._asleep.values())

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Make events durable. One whose end is told doesn't sleep any more, as in a file."""
        await super().write_events(events)
        for event in events:
            if event.kind is EventKind.DISPERSED:
                self._asleep.pop(event.incarnation, None)

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Remember some, and forget others."""
        await trio.lowlevel.checkpoint()
        for one in asleep:
            self._asleep[one.state.incarnation] = one
        for incarnation in awake:
            self._asleep.pop(incarnation, None)
