"""What a store of SQLite does with lifecycle events; see `_hall.event_store`.

They are written on the thread that commits appends, in between two group commits.
"""

from collections.abc import Sequence
from functools import partial

from squire_gatherings._stores.common import EVENTS_IN_USE
from squire_gatherings._stores.sqlite import events as rows
from squire_gatherings._stores.sqlite.calls import Calls
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.events import EventsLeft, LifecycleEvent


class KeptEvents(Calls):
    """Lifecycle events, until they are delivered."""

    async def begin_events(self) -> EventsLeft:
        """Take the outbox for one hall, and say what earlier halls have left in it.

        Raises:
            BadSetting: Another hall has it.
            StoreUnavailable: The store can't be read now.

        Cancellation: it isn't taken.
        """
        if self._tells_events:
            raise BadSetting(EVENTS_IN_USE)
        self._tells_events = True
        try:
            return await self._look(rows.left)
        except BaseException:
            self._tells_events = False
            raise

    def end_events(self) -> None:
        """Give the outbox back."""
        self._tells_events = False

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Return once these events are durable.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._in_between(partial(rows.write, events=events, check=self._place.check))

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Read the first events between two numbers that weren't delivered.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            partial(rows.read, after=after, up_to=up_to, limit=limit),
        )

    async def forget_events(self, *, up_to: int) -> None:
        """Delete the events up to a number; a loss of power may bring them back.

        Raises:
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._in_between(partial(rows.forget, up_to=up_to))
