"""What a store of SQLite does with whole logs; see `_hall.archive`."""

from collections.abc import Callable
from typing import TypeVar

from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._stores.sqlite import archive, reads
from squire_gatherings._stores.sqlite.calls import Calls
from squire_gatherings._stores.sqlite.connection import clear_wal, vacuum
from squire_gatherings._stores.sqlite.logs import LogsOfFile
from squire_gatherings._stores.whole_logs import WholeLogs

T = TypeVar("T")


class WholeLogsOfFile(WholeLogs, Calls):
    """Whole logs. What they show was committed before: the journal goes into the tables first."""

    async def _look_at_logs(self, function: Callable[[Logs], T]) -> T:
        return await self._look(lambda database: function(LogsOfFile(database)))

    async def _change_logs(self, gathering: str, function: Callable[[LogChanges], T]) -> T:
        return await self._change(gathering, lambda database: function(LogsOfFile(database)))

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        """Return whether a log begins with `first_seq`, and has that head after the op `seq`.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.has_log(
                database, gathering, first_seq, seq, head, unfolded
            ),
        )

    async def changes(self) -> int:
        """Return how often whole logs were changed, here or by another program.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(self._read_connection, archive.changes)

    async def erase(self) -> None:
        """Write the file anew, so that it has nothing any more of what was deleted.

        Nothing is committed meanwhile.

        Raises:
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        await self._call(self._write_connection, self._writer.fold)
        await self._call(self._write_connection, vacuum)
        await self._call(self._write_connection, clear_wal)
