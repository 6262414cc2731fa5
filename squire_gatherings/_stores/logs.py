"""Whole logs as a store's database has them in one transaction, whichever database that is.

The stores use them on worker threads, and the command line in a process of its own.
"""

from collections.abc import Iterator
from typing import Protocol

from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.log import Append, SyncRecord


class Logs(Protocol):
    """What is told of logs, and read of them append by append."""

    def list_logs(self, after: str, limit: int) -> tuple[LogInfo, ...]:
        """Return what there is of the next gatherings, in the order of their ids."""
        ...

    def find_info(self, gathering: str) -> LogInfo | None:
        """Return what there is of a gathering; None if there is nothing."""
        ...

    def matching(self, pattern: str) -> list[str]:
        """Return the ids of the logs that match a pattern, as in a shell: `*`, `?`, `[a-z]`."""
        ...

    def epochs(self, gathering: str) -> list[tuple[int, str]]:
        """Return where the epoch changes in a log."""
        ...

    def head_at(self, gathering: str, seq: int) -> bytes:
        """Return the head of the chain after an op; empty where no append ended."""
        ...

    def seq_at(self, gathering: str, time: int) -> int:
        """Return the last op whose time isn't after `time`."""
        ...

    def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        ...

    def read_links(
        self, gathering: str, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Return consecutive links after the op `after`, at least one if there is any."""
        ...

    def links_of(self, gathering: str) -> Iterator[Append]:
        """Give all appends of a log, and the snapshots with them.

        A log that begins later than at 1 begins with an append of nothing but its snapshot.
        """
        ...

    def end_of_append(self, gathering: str, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        ...


class LogChanges(Logs, Protocol):
    """What changes whole logs, all of it or nothing."""

    def delete(self, gathering: str, now: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone; None if there is no such log."""
        ...

    def compact(
        self, gathering: str, up_to: int, state: bytes | None, *, forget_syncs: bool
    ) -> int:
        """Leave out the ops up to a snapshot: the last one by the op `up_to`, or the one given.

        Returns:
            The first seq that the log has now.

        Raises:
            StoreConflict: There is no such log, or no append ended where a snapshot is given.
        """
        ...

    def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log; return its last seq.

        Raises:
            StoreConflict: There is one of this id, or a link doesn't fit on the one before it.
            Exception: What reading the links raises.
        """
        ...

    def fork(self, gathering: str, new: str, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
        """
        ...
