"""What a store of SQLite does with gatherings that sleep; see `_hall.sleep_store`."""

from collections.abc import Sequence
from functools import partial

from squire_gatherings._stores.sqlite import sleep as rows
from squire_gatherings._stores.sqlite.calls import Calls
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.sleep import Slept


class KeptSleep(Calls):
    """Who sleeps, until they wake or end."""

    async def sleeping(self) -> tuple[Slept, ...]:
        """Return those that slept when earlier halls ended, whose logs are as then.

        None while the file is another process's, which hands them over itself.

        Raises:
            StoreUnavailable: The store can't be read now.

        Cancellation: nothing is changed.
        """
        return await self._look(rows.left) if self._lock.is_ours else ()

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Return once these are remembered, and those forgotten.

        Raises:
            StoreUnavailable: The commit failed. It may be repeated.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        if not self._lock.is_ours:
            raise StoreUnavailable("the file is another process's now")
        write = partial(rows.write, asleep=asleep, awake=awake, check=self._place.check)
        await self._in_between(write)
