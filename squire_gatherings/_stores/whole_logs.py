"""What a store does with whole logs, however it has them; see `_hall.archive`."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.log import Append, SyncRecord

T = TypeVar("T")


class WholeLogs:
    """Whole logs, in a store that finds and changes them in transactions on a worker thread."""

    @abstractmethod
    async def _look_at_logs(self, function: Callable[[Logs], T]) -> T:
        """Return what a function finds in logs, as they are at one moment."""

    @abstractmethod
    async def _change_logs(self, gathering: str, function: Callable[[LogChanges], T]) -> T:
        """Return what a function says that changes a log, once nothing of it is under way."""

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of at most `limit` gatherings and tombstones whose ids come after `after`.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look_at_logs(lambda logs: logs.list_logs(after, limit))

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one gathering; None if there is no log, and no tombstone.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look_at_logs(lambda logs: logs.find_info(gathering))

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Read appends as they were committed, with the heads of the chain and the snapshots.

        Args:
            gathering: Its id.
            after: The last op that isn't wanted; appends before it end there.
            up_to: The last op with which an append may begin.
            max_bytes: About how many bytes they may have; one append is always read.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look_at_logs(
            lambda logs: logs.read_links(gathering, after, up_to, max_bytes)
        )

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look_at_logs(lambda logs: logs.older_syncs(gathering))

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone. No incarnation may live, or it can't go on.

        Args:
            gathering: Its id.
            time: When it is deleted, in milliseconds since 1970 (UTC).

        Returns:
            The tombstone; None if there is no such log.

        Raises:
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change_logs(gathering, lambda logs: logs.delete(gathering, time))

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        """Leave out the ops up to a snapshot. No incarnation may live.

        Args:
            gathering: Its id.
            up_to: The last op that may be left out.
            state: The state after it, as JSON, if an append ended there. Without it, the newest
                snapshot that is there counts.
            forget_syncs: Whether the ids of the syncs that are left out are forgotten.

        Returns:
            The first seq that the log has now.

        Raises:
            StoreConflict: There is no such log, or no append ended there.
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change_logs(
            gathering,
            lambda logs: logs.compact(gathering, up_to, state, forget_syncs=forget_syncs),
        )

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look_at_logs(lambda logs: logs.end_of_append(gathering, seq))

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log, all or nothing of it; return its last seq.

        Raises:
            StoreConflict: There is a gathering of this id, or the chain doesn't hold.
            StoreUnavailable: It can't be changed now.
            Exception: What reading the links raises.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change_logs(copy.gathering, lambda logs: logs.adopt(copy))

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change_logs(new, lambda logs: logs.fork(gathering, new, seq))
