"""What a store of PostgreSQL does with gatherings that sleep; see `_hall.sleep_store`."""

from collections.abc import Sequence

import trio

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
        if not self._claims.takes:
            # A hall is told of those by `arrived`, and by its claims.
            await trio.lowlevel.checkpoint()
            return ()
        return await self._in_between(lambda connection: rows.left(connection, self._claims))

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Return once these are remembered, and those forgotten.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._write(rows.write, self._claims.node, asleep, awake)
