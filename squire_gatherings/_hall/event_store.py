"""The event store: what a store also does if lifecycle events can be kept in it until delivered.

Of a store that can't, a hall tells no events; the stores of ours can.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from squire_gatherings._hall.store import Store
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.events import EventsLeft, LifecycleEvent


@runtime_checkable
class EventStore(Store, Protocol):
    """A store that has an outbox of lifecycle events, for one hall at a time.

    Every async call is a checkpoint, and raises `StoreUnavailable` when the store can't serve it
    now. One that is cancelled before it began does nothing. One that is cancelled later is waited
    for, or abandoned; each may be repeated.
    """

    async def begin_events(self) -> EventsLeft:
        """Take the outbox for one hall, and say what earlier halls have left in it.

        Raises:
            BadSetting: Another hall has it.
        """
        ...

    def end_events(self) -> None:
        """Give the outbox back."""
        ...

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Make events durable, all of them or none; return only once they are.

        The same events may come again, alone or with later ones: a commit that failed may have
        succeeded after all. They count once. An incarnation is open from its `opened` until its
        `dispersed`.

        Args:
            events: The next ones, in the order of their numbers.
        """
        ...

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Read events that weren't delivered, in the order of their numbers.

        Args:
            after: The number before the first one that is wanted.
            up_to: The number of the last one that is wanted.
            limit: How many at most.
        """
        ...

    async def forget_events(self, *, up_to: int) -> None:
        """Forget the events up to a number: they were delivered.

        That needn't be durable at once: what a crash brings back is delivered again.
        """
        ...


def event_store_of(store: Store) -> EventStore:
    """Return the store as one that keeps events. Raises `BadSetting` if it can't."""
    if not isinstance(store, EventStore):
        raise BadSetting("on_event: this store has no outbox for lifecycle events (EventStore)")
    return store
