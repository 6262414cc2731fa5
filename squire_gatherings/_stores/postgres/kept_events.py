"""What a store of PostgreSQL does with lifecycle events; see `_hall.event_store`.

They are written on the thread that commits appends, in between two group commits. The outbox is one
for all nodes.
"""

from collections.abc import Sequence

from squire_gatherings._stores.common import EVENTS_IN_USE
from squire_gatherings._stores.postgres import events as rows
from squire_gatherings._stores.postgres.calls import Calls
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.events import EventsLeft, LifecycleEvent


class KeptEvents(Calls):
    """Lifecycle events, until they are delivered."""

    async def begin_events(self) -> EventsLeft:
        """Say what is in the outbox. A hall that is a node may ask that again.

        Raises:
            BadSetting: Another hall of this process has it.
            StoreUnavailable: The store can't be read now.

        Cancellation: it isn't taken.
        """
        by_itself = self._claims.takes
        if self._tells_events and by_itself:
            raise BadSetting(EVENTS_IN_USE)
        self._tells_events = True
        try:
            return await self._write(rows.begin, self._claims.node, with_open=by_itself)
        except BaseException:
            self._tells_events = False
            raise

    def end_events(self) -> None:
        """Give the outbox back."""
        self._tells_events = False

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Return once these events are durable, but for those of gatherings that aren't ours.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        if self._claims.takes:
            for one in {event.gathering for event in events}:
                await self._claiming.claim(one)
        await self._write(rows.write, self._claims.node, events)

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Read the first events between two numbers that weren't delivered.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(rows.read, after, up_to, limit)

    async def forget_events(self, *, up_to: int) -> None:
        """Delete the events up to a number; a loss of power may bring them back.

        Raises:
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._write(rows.forget, up_to)
