"""What a store of PostgreSQL does with gatherings that sleep; see `_hall.sleep_store`."""

from collections.abc import Sequence

from squire_gatherings._stores.postgres import sleep as rows
from squire_gatherings._stores.postgres.calls import Calls
from squire_gatherings._values.sleep import Slept


class KeptSleep(Calls):
    """Who sleeps, until they wake or end."""

    async def sleeping(self) -> tuple[Slept, ...]:
        """Return those that are ours, and those whose owner is gone, whose logs are as then.

        Raises:
            StoreUnavailable: The store can't be read now.

        Cancellation: nothing is changed, but the gatherings may be ours.
        """
        return await self._in_between(lambda connection: rows.left(connection, self._claims))

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Return once these are remembered, and those forgotten.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._write(rows.write, asleep, awake)
