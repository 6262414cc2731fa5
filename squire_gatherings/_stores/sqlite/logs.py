"""Whole logs in a file, as `_stores.logs` says, within a transaction of the caller's."""

import sqlite3
from collections.abc import Iterator

from attrs import frozen

from squire_gatherings._stores.sqlite import archive, log_changes
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.log import Append, SyncRecord


@frozen
class LogsOfFile:
    """The logs of a file whose journal was folded. What changes them needs the file's lock."""

    database: sqlite3.Connection

    def list_logs(self, after: str, limit: int) -> tuple[LogInfo, ...]:
        """Return what there is of the next gatherings, in the order of their ids."""
        return archive.list_logs(self.database, after, limit)

    def find_info(self, gathering: str) -> LogInfo | None:
        """Return what there is of a gathering; None if there is nothing."""
        return archive.find_info(self.database, gathering)

    def matching(self, pattern: str) -> list[str]:
        """Return the ids of the logs that match a pattern, as in a shell."""
        return archive.matching(self.database, pattern)

    def epochs(self, gathering: str) -> list[tuple[int, str]]:
        """Return where the epoch changes in a log."""
        return archive.epochs(self.database, gathering)

    def head_at(self, gathering: str, seq: int) -> bytes:
        """Return the head of the chain after an op; empty where no append ended."""
        return archive.head_at(self.database, gathering, seq)

    def seq_at(self, gathering: str, time: int) -> int:
        """Return the last op whose time isn't after `time`."""
        return archive.seq_at(self.database, gathering, time)

    def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        return archive.older_syncs(self.database, gathering)

    def read_links(
        self, gathering: str, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Return consecutive links after the op `after`, at least one if there is any."""
        return archive.read_links(self.database, gathering, after, up_to, max_bytes)

    def links_of(self, gathering: str) -> Iterator[Append]:
        """Give all appends of a log."""
        return archive.links_of(self.database, gathering)

    def end_of_append(self, gathering: str, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended."""
        return archive.end_of_append(self.database, gathering, seq)

    def delete(self, gathering: str, now: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone."""
        return log_changes.delete(self.database, gathering, now)

    def compact(
        self, gathering: str, up_to: int, state: bytes | None, *, forget_syncs: bool
    ) -> int:
        """Leave out the ops up to a snapshot."""
        return log_changes.compact(
            self.database, gathering, up_to, state, forget_syncs=forget_syncs
        )

    def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log; return its last seq."""
        return log_changes.adopt(self.database, copy)

    def fork(self, gathering: str, new: str, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that."""
        return log_changes.fork(self.database, gathering, new, seq)
