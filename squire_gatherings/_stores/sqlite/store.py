"""The SQLite store: one file, one writer with group commit, every call on a worker thread."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
from attrs import define

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.sqlite import reads
from squire_gatherings._stores.sqlite.connection import (
    Database,
    empty_wal,
)
from squire_gatherings._stores.sqlite.kept_events import KeptEvents
from squire_gatherings._stores.sqlite.kept_sleep import KeptSleep
from squire_gatherings._stores.sqlite.locks import FileLock, locked
from squire_gatherings._stores.sqlite.place import Place
from squire_gatherings._stores.sqlite.whole_logs import WholeLogsOfFile
from squire_gatherings._stores.sqlite.writer import JOURNAL_BYTES, Writer
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord


@define(eq=False)
class SqliteStore(WholeLogsOfFile, KeptEvents, KeptSleep):
    """A `Store` in an SQLite file. Made by `open_sqlite_store`.

    What is appended while a commit runs goes into the next one, for all gatherings together: one
    `fsync` for all of them. Every call raises `StoreUnavailable` while the file is locked, full,
    broken or gone, and after the store was closed.

    Cancellation: every async call is a checkpoint; cancelled before it began, it does nothing.
    Cancelling a read waits for the worker thread first.
    """

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
        return await self._read(
            gathering,
            lambda database, unfolded: reads.load(database, gathering, recent_syncs, unfolded),
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
        return await self._read(
            gathering,
            lambda database, unfolded: reads.read(
                database, gathering, after, up_to, max_bytes, unfolded
            ),
        )

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have, each as its JSON.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.size(database, gathering, unfolded),
        )

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Return the records of those syncs, by (scope, id), that were applied.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.find_syncs(database, gathering, keys, unfolded),
        )

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return ids of the syncs of one scope that were applied, at most `limit` of them.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.sync_ids(database, gathering, scope, limit, unfolded),
        )

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Return the head of the chain after the op `seq`; empty if no append ended there.

        None if the log begins after it.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.find_head(database, gathering, seq, unfolded),
        )

    # Logs as they were.

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from, in order.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.syncs_of(database, gathering, after, up_to, unfolded),
        )

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.snapshot_at(database, gathering, seq, unfolded),
        )

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`: milliseconds since 1970 (UTC).

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(
            gathering,
            lambda database, unfolded: reads.seq_at(database, gathering, time, unfolded),
        )

    # Handing over.

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The open files whose locks keep others away, for a process that shares them."""
        held = self._place.held
        return () if self._lock.file is None or held is None else (self._lock.file, held)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is being written, or waits to be."""
        return self._committer.is_idle and not self._write_connection.is_busy

    async def fold(self) -> None:
        """Commit all that is in the journal to the tables.

        Raises:
            StoreUnavailable: The store can't write now.

        Cancellation: as for a commit: it is waited for.
        """
        await self._call(self._write_connection, self._writer.fold)

    def say(self, status: str) -> None:
        """Say something to those who ask which process has the file (`locks.owner_of`)."""
        self._lock.say(status)

    def hand_over(self) -> None:
        """Note that another process has the file: nothing is written here any more."""
        self._lock.is_ours = False
        self._committer.stop(0.0)

    def take_over(self) -> None:
        """Note that the file is ours, and no other process's any more."""
        self._lock.take()


@asynccontextmanager
async def open_sqlite_store(
    path: str | Path,
    *,
    busy_timeout: float = 1.0,
    flush_timeout: float = 5.0,
    journal_bytes: int = JOURNAL_BYTES,
    shared: Sequence[int] = (),
) -> AsyncIterator[SqliteStore]:
    """Open (or make) a store's file, and commit to it until the block is left.

    A new file can be read by its owner alone. A symbolic link is followed once, now: the store's
    `name` says where it led. No other store can be opened there meanwhile.

    Args:
        path: The file.
        busy_timeout: How many seconds we wait for a lock that somebody else holds.
        flush_timeout: How many seconds are left, when the block is left, to commit what is queued.
        journal_bytes: About how many bytes the journal has when it is folded. It is folded at both
            ends, too; if it can't be at the end, the next opening does it.
        shared: `SqliteStore.descriptors` of another process, which has the file and hands it on.
            Nothing is written until `SqliteStore.take_over`. They're closed at the end.

    Yields:
        The store. Leaving the block commits what is queued within `flush_timeout` seconds (a commit
        that has begun is waited for), answers `StoreUnavailable` to what is still queued, and
        closes the file.

    Raises:
        StoreUnusable: The file can't be a store of ours.
        StoreUnavailable: The file can't be opened now.

    Cancellation: the block is left as ever: what is queued is committed.
    """
    with _taken(Path(path), shared) as (place, lock):
        write_connection = Database(
            place, busy_timeout, may_be_empty=not shared, may_migrate=not shared
        )
        read_connection = Database(place, busy_timeout, only_reads=True)
        look_connection = Database(place, busy_timeout, only_reads=True)
        writer = Writer(journal_bytes)
        store = SqliteStore(
            f"sqlite:///{place.path}",
            place=place,
            lock=lock,
            write_connection=write_connection,
            read_connection=read_connection,
            look_connection=look_connection,
            writer=writer,
        )
        try:
            await write_connection.open()
            if lock.is_ours:
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
                await look_connection.close()
                # What another process goes on with is its own.
                last = (writer.fold, empty_wal) if lock.is_ours else ()
                await write_connection.close(*last)


@contextmanager
def _taken(path: Path, shared: Sequence[int]) -> Iterator[tuple[Place, FileLock]]:
    """Find the file, and keep others from it, or share it with another process that does."""
    lock_file, held = shared or (None, None)
    place = Place.find(path)
    try:
        with locked(place.path, lock_file) as lock:
            try:
                place.hold(held)
                yield place, lock
            finally:
                place.let_go()
    finally:
        place.leave()
