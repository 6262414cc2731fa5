"""The SQLite store: one file, one writer with group commit, every call on a worker thread.

A commit goes into the journal, which is folded into the tables now and then.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import trio
from attrs import define, field

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.sqlite.connection import Database, empty_wal
from squire_gatherings._stores.sqlite.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.sqlite.lock import locked
from squire_gatherings._stores.sqlite.place import Misplaced, Place
from squire_gatherings._stores.sqlite.reads import Known, find_syncs, load, read, sync_ids
from squire_gatherings._stores.sqlite.writer import JOURNAL_BYTES, Journal
from squire_gatherings._values.log import Append, LoggedOp, Restored, SyncRecord

T = TypeVar("T")


@define(eq=False)
class SqliteStore:
    """A `Store` in an SQLite file. Made by `open_sqlite_store`.

    What is appended while a commit runs goes into the next one, whatever gathering it is
    of: one `fsync` for all of them. Every call raises `StoreUnavailable` while the file is
    locked, full, broken or gone, and after the store was closed. Every async call is a checkpoint;
    cancelled before it began, it does nothing. Cancelling a read waits for the worker thread first.
    """

    name: str
    _place: Place = field(kw_only=True)
    _writer: Database = field(kw_only=True)
    _reader: Database = field(kw_only=True)
    _journal: Journal = field(kw_only=True)
    _committer: GroupCommitter = field(init=False)
    _letting_go: trio.Lock = field(factory=trio.Lock)

    def __attrs_post_init__(self) -> None:
        self._committer = GroupCommitter(self._commit)

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._committer.commits

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from, after any append of it under way."""
        await self._committer.settled(gathering)
        return await self._call(
            self._reader,
            lambda database: load(database, gathering, recent_syncs, self._unfolded(gathering)),
        )

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Let it go into the next commit: never true."""
        self._committer.append_nowait(append, ended)
        return False

    async def append(self, append: Append) -> None:
        """Return once it is durable. Raises `StoreConflict`, `StoreUnavailable`.

        Raises `ValueError` for what SQLite can't hold (an integer of more than 64 bits, a
        lone surrogate), with nothing written. Cancellation abandons the wait: the append
        may be committed all the same, and is no trouble to others.
        """
        await self._committer.append(append)

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one if there is any."""
        return await self._call(
            self._reader,
            lambda database: read(
                database, gathering, after, up_to, max_bytes, self._unfolded(gathering)
            ),
        )

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find which of these (scope, id) were applied."""
        return await self._call(
            self._reader,
            lambda database: find_syncs(database, gathering, keys, self._unfolded(gathering)),
        )

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return ids of the syncs of one scope, at most `limit` of them."""
        return await self._call(
            self._reader,
            lambda database: sync_ids(database, gathering, scope, limit, self._unfolded(gathering)),
        )

    def _unfolded(self, gathering: str) -> Known:
        return self._journal.unfolded.of(gathering)

    async def _commit(self, take: Take, report: Report) -> None:
        """Commit batch after batch in one call; see `group_commit.Session`."""
        journal, check = self._journal, self._place.check
        await self._call(
            self._writer, lambda database: journal.append_batches(database, take, report, check)
        )

    async def _call(self, database: Database, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await database.call(function)
        except Misplaced:
            # Nobody may open a connection as long as one is left (see `Place`). What the
            # write-ahead log has goes into the file that it belongs to, wherever that is now.
            async with self._letting_go:
                await self._reader.disconnect()
                await self._writer.disconnect(empty_wal)
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
    """Open (or make) the file at `path`, and commit to it until the block is left.

    A new file can be read by its owner alone. A symbolic link is followed once, now: `name` says
    where it led. Nobody else who opens a store there can have it meanwhile.
    A lock that somebody else holds is waited for `busy_timeout` seconds. The journal is
    folded once it has about `journal_bytes`, and at both ends (if it can't be at the end,
    the next opening does it). Leaving the block, also when cancelled, commits what is queued
    within `flush_timeout` seconds (a commit that has begun is waited for), tells what is still
    queued `StoreUnavailable`, and closes the file. Raises `StoreUnusable` for a file that
    can't be a store of ours, and `StoreUnavailable` for one that can't be opened now.
    """
    with _taken(Path(path)) as place:
        writer = Database(place, busy_timeout, may_be_empty=True)
        reader = Database(place, busy_timeout)
        journal = Journal(journal_bytes)
        store = SqliteStore(
            f"sqlite:///{place.path}", place=place, writer=writer, reader=reader, journal=journal
        )
        try:
            await writer.open()
            place.warn_of_readers()
            # What a crash left.
            await writer.call(journal.fold)
            async with open_hidden_nursery() as nursery:
                nursery.start_soon(store._committer.run)
                try:
                    yield store
                finally:
                    store._committer.stop(flush_timeout)
        finally:
            with trio.CancelScope(shield=True):
                await reader.close()
                await writer.close(journal.fold, empty_wal)


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
