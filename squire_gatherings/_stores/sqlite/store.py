"""The SQLite store: one file, one writer with group commit, every call on a worker thread."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
from attrs import define, field

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.sqlite import archive, reads
from squire_gatherings._stores.sqlite.connection import (
    Call,
    Database,
    clear_wal,
    empty_wal,
    vacuum,
)
from squire_gatherings._stores.sqlite.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.sqlite.place import Misplaced, Place, locked
from squire_gatherings._stores.sqlite.writer import JOURNAL_BYTES, Writer
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord

T = TypeVar("T")


@define(eq=False)
class SqliteStore:
    """A `Store` in an SQLite file. Made by `open_sqlite_store`.

    What is appended while a commit runs goes into the next one, for all gatherings together: one
    `fsync` for all of them. Every call raises `StoreUnavailable` while the file is locked, full,
    broken or gone, and after the store was closed.

    Cancellation: every async call is a checkpoint; cancelled before it began, it does nothing.
    Cancelling a read waits for the worker thread first.
    """

    name: str
    _place: Place = field(kw_only=True)
    _write_connection: Database = field(kw_only=True)
    _read_connection: Database = field(kw_only=True)
    _writer: Writer = field(kw_only=True)
    _committer: GroupCommitter = field(init=False)
    _letting_go: trio.Lock = field(factory=trio.Lock)

    def __attrs_post_init__(self) -> None:
        self._committer = GroupCommitter(self._commit)

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._committer.commits

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from, after any append of it that is under way.

        Args:
            gathering: Its id.
            recent_syncs: How many of the newest syncs are wanted.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        await self._committer.settled(gathering)
        return await self._call(
            self._read_connection,
            lambda database: reads.load(
                database, gathering, recent_syncs, self._writer.unfolded.of(gathering)
            ),
        )

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Let it go into the next commit: always false, as it isn't durable yet.

        Args:
            append: What to append.
            ended: Is called once, on Trio's thread, with what `append` would have raised, or None.
        """
        self._committer.append_nowait(append, ended)
        return False

    async def append(self, append: Append) -> None:
        """Return once it is durable.

        Raises:
            StoreConflict: The log doesn't end just before it. Nothing was written.
            StoreUnavailable: The commit failed. It may be repeated.
            ValueError: SQLite can't hold it, now or ever (an integer of more than 64 bits, a
                lone surrogate). Nothing was written.

        Cancellation: before it began, it appends nothing; later, it abandons the wait: the append
        may be committed all the same, and is no trouble to others.
        """
        await self._committer.append(append)

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one if there is any.

        Args:
            gathering: Its id.
            after: The seq before the first op that is wanted.
            up_to: The seq of the last op that is wanted.
            max_bytes: How many bytes they may add to a message (see `encoded_size`).

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.read(
                database, gathering, after, up_to, max_bytes, self._writer.unfolded.of(gathering)
            ),
        )

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have, each as its JSON.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.size(database, gathering, self._writer.unfolded.of(gathering)),
        )

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Return the records of those syncs, by (scope, id), that were applied.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.find_syncs(
                database, gathering, keys, self._writer.unfolded.of(gathering)
            ),
        )

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return ids of the syncs of one scope that were applied, at most `limit` of them.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.sync_ids(
                database, gathering, scope, limit, self._writer.unfolded.of(gathering)
            ),
        )

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Return the head of the chain after the op `seq`; empty if no append ended there.

        None if the log begins after it.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.find_head(
                database, gathering, seq, self._writer.unfolded.of(gathering)
            ),
        )

    # Logs as they were.

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.snapshot_at(
                database, gathering, seq, self._writer.unfolded.of(gathering)
            ),
        )

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`: milliseconds since 1970 (UTC).

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.seq_at(
                database, gathering, time, self._writer.unfolded.of(gathering)
            ),
        )

    # Whole logs. What they show was committed before; what is in the journal goes into the tables.

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of at most `limit` gatherings and tombstones whose ids come after `after`.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look(lambda database: archive.list_logs(database, after, limit))

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one gathering; None if there is no log, and no tombstone.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look(lambda database: archive.find_info(database, gathering))

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
        return await self._look(
            lambda database: archive.read_links(database, gathering, after, up_to, max_bytes)
        )

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look(lambda database: archive.older_syncs(database, gathering))

    async def has_log(self, gathering: str, *, first_seq: int, seq: int, head: bytes) -> bool:
        """Return whether a log begins with `first_seq`, and has that head after the op `seq`.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(
            self._read_connection,
            lambda database: reads.has_log(
                database, gathering, first_seq, seq, head, self._writer.unfolded.of(gathering)
            ),
        )

    async def changes(self) -> int:
        """Return how often whole logs were changed, by whomever.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._call(self._read_connection, archive.changes)

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
        return await self._change(
            gathering, lambda database: archive.delete(database, gathering, time)
        )

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
        return await self._change(
            gathering,
            lambda database: archive.compact(
                database, gathering, up_to, state, forget_syncs=forget_syncs
            ),
        )

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._look(lambda database: archive.end_of_append(database, gathering, seq))

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log, all or nothing of it; return its last seq.

        Raises:
            StoreConflict: There is a gathering of this id, or the chain doesn't hold.
            StoreUnavailable: It can't be changed now.
            Exception: What reading the links raises.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change(copy.gathering, lambda database: archive.adopt(database, copy))

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`; return that.

        Raises:
            BadBase: The log doesn't have that op.
            StoreConflict: There is no such log, or one of the new id.
            StoreUnavailable: It can't be changed now.

        Cancellation: before it began, it does nothing; later, it is waited for.
        """
        return await self._change(new, lambda database: archive.fork(database, gathering, new, seq))

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

    async def _look(self, function: Call[T]) -> T:
        await self._call(self._write_connection, self._writer.fold)
        return await self._call(self._read_connection, partial(archive.at_one_moment, function))

    async def _change(self, gathering: str, function: Call[T]) -> T:
        await self._committer.settled(gathering)
        return await self._call(
            self._write_connection,
            lambda database: self._writer.change(database, partial(function, database)),
        )

    async def _commit(self, take: Take, report: Report) -> None:
        """Commit batch after batch in one call; see `group_commit.Session`."""
        await self._call(
            self._write_connection,
            partial(self._writer.append_batches, take, report, self._place.check),
        )

    async def _call(self, database: Database, function: Call[T]) -> T:
        try:
            return await database.call(function)
        except Misplaced:
            # Nobody may open a connection as long as one is left (see `Place`). What the
            # write-ahead log has goes into the file that it belongs to, wherever that is now.
            async with self._letting_go:
                await self._read_connection.disconnect()
                await self._write_connection.disconnect(empty_wal)
                self._place.look_again()
            raise


@asynccontextmanager
async def open_sqlite_store(
    path: str | Path,
    *,
    busy_timeout: float = 1.0,
    flush_timeout: float = 5.0,
    journal_bytes: int = JOURNAL_BYTES,
) -> AsyncIterator[SqliteStore]:
    """Open (or make) a store's file, and commit to it until the block is left.

    A new file can be read by its owner alone. A symbolic link is followed once, now: the store's
    `name` says where it led. No other store can be opened there meanwhile.

    Args:
        path: The file.
        busy_timeout: For how many seconds a lock that somebody else holds is waited for.
        flush_timeout: How many seconds are left, when the block is left, to commit what is queued.
        journal_bytes: At about how many bytes the journal is folded. It is folded at both ends,
            too; if it can't be at the end, the next opening does it.

    Yields:
        The store. Leaving the block commits what is queued within `flush_timeout` seconds (a commit
        that has begun is waited for), answers `StoreUnavailable` to what is still queued, and
        closes the file.

    Raises:
        StoreUnusable: The file can't be a store of ours.
        StoreUnavailable: The file can't be opened now.

    Cancellation: the block is left as ever: what is queued is committed.
    """
    with _taken(Path(path)) as place:
        write_connection = Database(place, busy_timeout, may_be_empty=True)
        read_connection = Database(place, busy_timeout, only_reads=True)
        writer = Writer(journal_bytes)
        store = SqliteStore(
            f"sqlite:///{place.path}",
            place=place,
            write_connection=write_connection,
            read_connection=read_connection,
            writer=writer,
        )
        try:
            await write_connection.open()
            place.warn_of_readers()
            # What a crash left.
            await write_connection.call(writer.fold)
            async with open_hidden_nursery() as nursery:
                nursery.start_soon(store._committer.run)
                try:
                    yield store
                finally:
                    store._committer.stop(flush_timeout)
        finally:
            with trio.CancelScope(shield=True):
                await read_connection.close()
                await write_connection.close(writer.fold, empty_wal)


@contextmanager
def _taken(path: Path) -> Iterator[Place]:
    """Find the file, and keep others from it."""
    place = Place.find(path)
    try:
        with locked(place.path):
            try:
                place.hold()
                yield place
            finally:
                place.let_go()
    finally:
        place.leave()
