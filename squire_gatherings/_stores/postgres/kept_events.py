"""What a store of PostgreSQL does with lifecycle events; see `_hall.event_store`.

They are written on the thread that commits appends, in between two group commits.
"""

from collections.abc import Sequence

from squire_gatherings._stores.common import EVENTS_IN_USE
from squire_gatherings._stores.postgres import events as rows
from squire_gatherings._stores.postgres.calls import Calls
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.events import EventsLeft, LifecycleEvent


class KeptEvents(Calls):
    """Lifecycle events, until they are delivered."""

    _outbox: rows.Outbox | None = None

    async def begin_events(self) -> EventsLeft:
        """Take an outbox for one hall, and say what earlier halls have left in it.

        Raises:
            BadSetting: Another hall has it.
            StoreUnavailable: The store can't be read now.

        Cancellation: it isn't taken.
        """
        if self._tells_events:
            raise BadSetting(EVENTS_IN_USE)
        self._tells_events = True
        try:
            self._outbox, left = await self._write(rows.begin, self._claims.node)
        except BaseException:
            self._tells_events = False
            raise
        return left

    def end_events(self) -> None:
        """Give the outbox back."""
        self._tells_events = False

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Return once these events are durable.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._write(rows.write, await self._taken(), events)

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Read the first events between two numbers that weren't delivered.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(rows.read, self._outbox, after, up_to, limit)

    async def forget_events(self, *, up_to: int) -> None:
        """Delete the events up to a number; a loss of power may bring them back.

        Raises:
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._write(rows.forget, await self._taken(), up_to)

    async def _taken(self) -> rows.Outbox:
        if self._outbox is not None:
            return self._outbox
        taken, _ = await self._write(rows.begin, self._claims.node)
        self._outbox = taken
        return taken
