"""The SQLite store: one file, one writer with group commit, every call on a worker thread."""

import math
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
from attrs import define, field

from squire_gatherings.edges.stores.sqlite_schema import migrate
from squire_gatherings.edges.stores.sqlite_statements import (
    append_all,
    find_syncs,
    load,
    read,
)
from squire_gatherings.values.errors import GatheringsError, StoreUnavailable, StoreUnusable
from squire_gatherings.values.log import Append, LoggedOp, Restored, SyncRecord

T = TypeVar("T")


@define(eq=False)
class _Database:
    """One connection to the file, used by one worker thread at a time, reopened after errors."""

    path: Path
    busy_timeout: float
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))
    _connection: sqlite3.Connection | None = None

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on a worker thread; raises `StoreUnavailable` for what SQLite raises.

        Cancellation waits for the thread: a connection is never used by two.
        """
        return await trio.to_thread.run_sync(self._call, function, limiter=self._limiter)

    async def close(self) -> None:
        """Close the connection; the last one of a file folds the log back into it."""
        await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._open()
            return function(self._connection)
        except sqlite3.Error as error:
            locked = getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            )
            if not locked:
                # The file may have been mended or put in another's place: look again.
                self._close()
            raise StoreUnavailable(f"{self.path.name}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@define(eq=False)
class _Waiting:
    """An append that waits for its commit."""

    append: Append
    done: trio.Event = field(factory=trio.Event)
    error: GatheringsError | None = None


@define(eq=False)
class SqliteStore:
    """A `Store` in an SQLite file. Made by `open_sqlite_store`.

    What is appended while a commit runs goes into the next one, whatever gathering it is
    of: one `fsync` for all of them.
    """

    name: str
    commits: int = 0
    """How many transactions were committed."""
    _writer: _Database = field(kw_only=True)
    _reader: _Database = field(kw_only=True)
    _queue: list[_Waiting] = field(factory=list)
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _closed: bool = False

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from."""
        return await self._reader.call(lambda database: load(database, gathering, recent_syncs))

    def append_nowait(self, append: Append) -> bool:
        """Never: a commit takes a thread and a disk."""
        return False

    async def append(self, append: Append) -> None:
        """Return once it is durable. Raises `StoreConflict`, `StoreUnavailable`."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        waiting = _Waiting(append)
        self._queue.append(waiting)
        self._arrived.unpark()
        await waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one if there is any."""
        return await self._reader.call(
            lambda database: read(database, gathering, after, up_to, max_bytes)
        )

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find which of these (scope, id) were applied."""
        return await self._reader.call(lambda database: find_syncs(database, gathering, keys))

    async def _write(self) -> None:
        """Commit what waits, all of it at a time, until cancelled."""
        while True:
            while not self._queue:
                await self._arrived.park()
            await self._commit()

    async def _commit(self) -> None:
        batch, self._queue = self._queue, []
        try:
            outcomes: Sequence[GatheringsError | None] = await self._writer.call(
                lambda database: append_all(database, [one.append for one in batch])
            )
            self.commits += 1
        except StoreUnavailable as error:
            outcomes = [StoreUnavailable(str(error)) for _ in batch]
        except trio.Cancelled:
            self._settle(batch, [StoreUnavailable("the store is closing")] * len(batch))
            raise
        self._settle(batch, outcomes)

    @staticmethod
    def _settle(batch: Sequence[_Waiting], outcomes: Sequence[GatheringsError | None]) -> None:
        for one, outcome in zip(batch, outcomes, strict=True):
            one.error = outcome
            one.done.set()

    async def _close(self, flush_timeout: float) -> None:
        self._closed = True
        with trio.move_on_after(flush_timeout, shield=True):
            if self._queue:
                await self._commit()
        self._settle(self._queue, [StoreUnavailable("the store is closed")] * len(self._queue))
        with trio.CancelScope(shield=True, deadline=trio.current_time() + flush_timeout):
            await self._reader.close()
            await self._writer.close()


@asynccontextmanager
async def open_sqlite_store(
    path: str | Path, *, busy_timeout: float = 1.0, flush_timeout: float = 5.0
) -> AsyncIterator[SqliteStore]:
    """Open (or make) the file at `path`, and commit to it until the block is left.

    A lock that somebody else holds is waited for `busy_timeout` seconds. Leaving the
    block commits what is queued, within `flush_timeout` seconds, also when cancelled.
    Raises `StoreUnusable` for a file that can't be a store of ours, and
    `StoreUnavailable` for one that can't be opened now.
    """
    path = Path(path)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise StoreUnusable(f"{path}: not a file in an existing directory")
    writer, reader = _Database(path, busy_timeout), _Database(path, busy_timeout)
    store = SqliteStore(f"sqlite:///{path}", writer=writer, reader=reader)
    try:
        await writer.call(lambda database: None)
    except StoreUnusable as error:
        raise StoreUnusable(f"{path}: {error}") from None
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._write)
            try:
                yield store
            except BaseException as error:
                # Raised again below, outside the nursery, which would wrap it in a group.
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        del failure
        await store._close(flush_timeout if math.isfinite(flush_timeout) else 60.0)
