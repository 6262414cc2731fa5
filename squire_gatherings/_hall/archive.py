"""The archive: what a store also does, if whole logs can be looked at, copied, cut short, deleted.

Of a store that can't, a hall only has what `Store` says; the stores of ours can.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from squire_gatherings._hall.store import Store, read_page, store_trouble
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.errors import BadExport, BadRequest, StoreConflict
from squire_gatherings._values.log import Append, Shown, Snapshot, SyncRecord
from squire_gatherings._values.messages import SyncRun


@runtime_checkable
class Archive(Store, Protocol):
    """A store that keeps older snapshots, and handles whole logs.

    `gathering` is always the id of the gathering whose log it is. Times are in milliseconds since
    1970 (UTC).

    Every async call is a checkpoint, and raises `StoreUnavailable` when the store can't serve it
    now. A call that changes a log does it as a whole or not at all, and nobody may append to the
    log meanwhile: an append that goes on with a log that was deleted raises `LogDeleted`.

    Cancellation: a call that is cancelled before it began does nothing. A change that has begun is
    waited for.
    """

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one.

        None if there is none.
        """
        ...

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`; one less than the first if none is."""
        ...

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of gatherings and tombstones, in the order of their ids.

        Args:
            after: The id before the first one that is wanted.
            limit: How many at most.
        """
        ...

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one gathering; None if there is no log, and no tombstone."""
        ...

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Read appends as they were committed, with their heads and snapshots.

        Args:
            gathering: The gathering that has the log.
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

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from, in order.

        Args:
            gathering: The gathering that has the log.
            after: The op before the first one.
            up_to: The last op.
        """
        ...

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        ...

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        """Return whether there is a log that goes from that op to that one, with that head.

        Args:
            gathering: The gathering that has the log.
            first_seq: The first seq that it should have; None for any.
            seq: The last op that it should have.
            head: The head of the chain that it should have after that op, or how that begins;
                empty where it should have none.
        """
        ...

    async def changes(self) -> int:
        """Return a number that changes when a whole log is deleted, cut short or taken in."""
        ...

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone.

        Args:
            gathering: The gathering that has the log.
            time: When that is, for the tombstone.

        Returns:
            The tombstone; None if there is no such log.
        """
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
            gathering: The gathering that has the log.
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

        Args:
            copy: The log, under the id that it is to have. Its links may be read once only, also on
                a worker thread.

        Raises:
            StoreConflict: There is a log of this id, or one of the links isn't as it was committed.
            Exception: What reading the links raises.
        """
        ...

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Make a new gathering of a log up to an op; return the op's seq.

        Args:
            gathering: The gathering that has the log.
            new: The id of the new gathering.
            seq: The op with which the new log ends at first.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
        """
        ...

    async def erase(self) -> None:
        """Remove all that is left anywhere of what was deleted. It may take long."""
        ...


async def read_shown(
    store: Store,
    gathering: str,
    *,
    after: int,
    up_to: int,
    max_bytes: int,
    syncs: bool,
) -> Shown:
    """Read ops as `read_page` does, and if they are wanted the syncs that they came from.

    Raises:
        StoreUnavailable: The store can't be read now.
    """
    page = await read_page(store, gathering, after=after, up_to=up_to, max_bytes=max_bytes)
    came_from: tuple[SyncRun, ...] = ()
    if syncs:
        came_from = await read_syncs(store, gathering, after=after, up_to=after + len(page))
    return Shown(after, page, came_from)


async def read_syncs(
    store: Store, gathering: str, *, after: int, up_to: int
) -> tuple[SyncRun, ...]:
    """Read the syncs that ops came from; none from a store that can't tell.

    Raises:
        StoreUnavailable: The store can't be read now.
    """
    if not isinstance(store, Archive):
        return ()
    with store_trouble():
        found = await store.syncs_of(gathering, after=after, up_to=up_to)
        return tuple(one.run for one in found)


def archive_of(store: Store) -> Archive:
    """Return the store as one that does more. Raises `BadRequest` if it can't."""
    if not isinstance(store, Archive):
        raise BadRequest("this store keeps no older states, and can't handle whole logs")
    return store


@contextmanager
def archive_trouble() -> Iterator[None]:
    """Turn errors that an archive may not raise into `StoreUnavailable`; let the others pass."""
    with store_trouble(BadRequest, BadExport, StoreConflict):
        yield
