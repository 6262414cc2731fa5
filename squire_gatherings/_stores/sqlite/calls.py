"""The calls: how a store uses its connections to the file, each on a worker thread."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio
from attrs import define, field

from squire_gatherings._stores.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.sqlite import archive
from squire_gatherings._stores.sqlite.connection import Call, Database, empty_wal
from squire_gatherings._stores.sqlite.locks import FileLock
from squire_gatherings._stores.sqlite.place import Misplaced, Place
from squire_gatherings._stores.sqlite.reads import Known
from squire_gatherings._stores.sqlite.writer import Writer

T = TypeVar("T")


@define(eq=False)
class Calls:
    """A file, and the connections to it."""

    name: str
    _place: Place = field(kw_only=True)
    _write_connection: Database = field(kw_only=True)
    _read_connection: Database = field(kw_only=True)
    _look_connection: Database = field(kw_only=True)
    """The connection for what reads whole logs, which may take long."""
    _writer: Writer = field(kw_only=True)
    _lock: FileLock = field(kw_only=True)
    _committer: GroupCommitter = field(init=False)
    _letting_go: trio.Lock = field(factory=trio.Lock)
    _tells_events: bool = field(default=False, init=False)
    """Whether a hall has the outbox of lifecycle events."""

    def __attrs_post_init__(self) -> None:
        self._committer = GroupCommitter(self._commit)

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._committer.commits

    async def _read(self, gathering: str, read: Callable[[sqlite3.Connection, Known], T]) -> T:
        """Read one gathering. What isn't folded is looked up on the worker thread."""
        return await self._call(
            self._read_connection,
            lambda database: read(database, self._writer.unfolded.of(gathering)),
        )

    async def _look(self, function: Call[T]) -> T:
        await self._call(self._write_connection, self._writer.fold)
        return await self._call(self._look_connection, partial(archive.at_one_moment, function))

    async def _change(self, gathering: str, function: Call[T]) -> T:
        await self._committer.settled(gathering)
        return await self._call(
            self._write_connection,
            lambda database: self._writer.change(database, partial(function, database)),
        )

    async def _in_between(self, function: Call[None]) -> None:
        """Call a function on the writer's thread, as soon as the commit under way is over."""
        # Several may do so at once.
        self._writer.wanted += 1
        try:
            await self._call(self._write_connection, function)
        finally:
            self._writer.wanted -= 1

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
                await self._look_connection.disconnect()
                await self._write_connection.disconnect(empty_wal)
                self._place.look_again()
            raise
