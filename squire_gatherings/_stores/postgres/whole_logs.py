"""What a store of PostgreSQL does with whole logs; see `_hall.archive`."""

from collections.abc import Callable
from typing import TypeVar

import trio

from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._stores.postgres import reads
from squire_gatherings._stores.postgres.archive import LogsOfDatabase
from squire_gatherings._stores.postgres.calls import LONG, Calls
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.log_changes import ChangesOfDatabase
from squire_gatherings._stores.postgres.transactions import one_moment
from squire_gatherings._stores.whole_logs import WholeLogs

T = TypeVar("T")


class WholeLogsOfDatabase(WholeLogs, Calls):
    """Whole logs."""

    async def _look_at_logs(self, function: Callable[[Logs], T]) -> T:
        return await self._look(_looked, function)

    async def _change_logs(self, gathering: str, function: Callable[[LogChanges], T]) -> T:
        await self._committer.settled(gathering)

        def change(connection: Connection) -> T:
            try:
                return _changed(connection, self._schema, function)
            finally:
                # It's another log now.
                self._claims.forget(gathering)

        # To delete again what was deleted would find nothing, and to take in again a conflict.
        return await self._in_between(change, LONG, repeats=False)

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        """Return whether a log begins with `first_seq`, and has that head after the op `seq`.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.has_log, gathering, first_seq, seq, head)

    async def changes(self) -> int:
        """Return how often whole logs were changed, here or by another program, or lost.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        # Also where the database may have another log than we know, and nobody has changed it.
        return await self._read(reads.changes) + (self._lost.others << 40)

    async def erase(self) -> None:
        """Do nothing: the database overwrites what was deleted in its own time (VACUUM).

        Cancellation: nothing is changed.
        """
        await trio.lowlevel.checkpoint()


def _looked(connection: Connection, schema: str, function: Callable[[Logs], T]) -> T:
    with one_moment(connection):
        return function(LogsOfDatabase(connection, schema))


def _changed(connection: Connection, schema: str, function: Callable[[LogChanges], T]) -> T:
    with connection.transaction():
        return function(ChangesOfDatabase(connection, schema))
