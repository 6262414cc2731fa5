"""The archive: what a store also does, if whole logs can be looked at, copied, cut short, deleted.

Of a store that can't, a hall only has what `Store` says; the stores of ours can.
"""

from typing import Protocol, runtime_checkable

from squire_gatherings._hall.store import Store
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.errors import BadRequest
from squire_gatherings._values.log import Append, Snapshot, SyncRecord


@runtime_checkable
class Archive(Store, Protocol):
    """A store that keeps older snapshots, and handles whole logs.

    Every async call is a checkpoint, and raises `StoreUnavailable` when the store can't now. One
    that is cancelled before it began does nothing. What changes a log is done in whole or not at
    all, and nobody may append to it meanwhile: an append that goes on with a log that was deleted
    raises `LogDeleted`. Times are in milliseconds since 1970 (UTC).
    """

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one."""
        ...

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`; one less than the first if none is."""
        ...

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of at most `limit` gatherings and tombstones whose ids come after `after`."""
        ...

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one gathering; None if there is no log, and no tombstone."""
        ...

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Read appends as they were committed, with their heads and snapshots.

        Args:
            gathering: Its id.
            after: The last op that isn't wanted; an append ended there.
            up_to: The last op with which an append may begin.
            max_bytes: About how many bytes they may have; one append is always read.

        Returns:
            The appends. Where a log begins later than at 1, the first one has no ops, and the
            snapshot in their place. The `gathering` of each is the id that the chain has there.
        """
        ...

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        ...

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        ...

    async def has_log(self, gathering: str, *, first_seq: int, seq: int, head: bytes) -> bool:
        """Return whether a log begins with `first_seq`, and has that head after the op `seq`."""
        ...

    async def changes(self) -> int:
        """Return a number that changes when a whole log is deleted, cut short or taken in."""
        ...

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone of that time; None if there is no such log."""
        ...

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        """Leave out the ops up to a snapshot.

        Args:
            gathering: Its id.
            up_to: The last op that may be left out.
            state: The state after it, as JSON, if an append ended there. Without it, the newest
                snapshot that there is by then counts.
            forget_syncs: Whether the ids of the syncs that are left out are forgotten.

        Returns:
            The first seq that the log has now.

        Raises:
            StoreConflict: There is no such log, or no append ended with `up_to`.
        """
        ...

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log; return its last seq.

        Raises:
            StoreConflict: There is a log of this id, or one of the links isn't as it was committed.
            Exception: What reading the links raises.
        """
        ...

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
        """
        ...

    async def erase(self) -> None:
        """See to it that nothing is left anywhere of what was deleted. It may take long."""
        ...


def archive_of(store: Store) -> Archive:
    """Return the store as one that does more. Raises `BadRequest` if it can't."""
    if not isinstance(store, Archive):
        raise BadRequest("this store keeps no older states, and can't handle whole logs")
    return store
