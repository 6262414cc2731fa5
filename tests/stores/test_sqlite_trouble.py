"""Trouble with the SQLite file: it is named, ends with its cause, and stops nothing else."""

import os
import resource
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings._values.log import Append, LoggedOp, SyncRecord
from tests.stores.appends import an_append, do


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_locked_file_works_again_once_it_is_free(tmp_path: Path, lock: str) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path, busy_timeout=0.01) as store:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute(lock)
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.append(an_append("a", 1))
        # Reading still works.
        assert (await store.load("a", recent_syncs=9)).seq == 0
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.append(an_append("a", 1))
        assert (await store.load("a", recent_syncs=9)).seq == 1


async def test_a_full_disk_works_again_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        big = an_append("a", 2, mark="x" * 300_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StoreUnavailable, match="disk"):
                await store.append(big)
            assert (await store.load("a", recent_syncs=9)).seq == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await store.append(big)
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_a_corrupt_file_works_again_once_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1, 50))
    good = path.read_bytes()
    async with open_sqlite_store(path) as store:
        path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
        with pytest.raises(StoreUnavailable, match=r"malformed|not a database"):
            await store.load("a", recent_syncs=9)
        path.write_bytes(good)
        assert (await store.load("a", recent_syncs=9)).seq == 50


async def test_what_cannot_be_a_store_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer.sqlite3"
    async with open_sqlite_store(newer):
        pass
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 999")
    database.close()
    foreign = tmp_path / "foreign.sqlite3"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    text = tmp_path / "text.sqlite3"
    text.write_text("not a database " * 100)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in (
        (newer, "version 999"),
        (foreign, "another program"),
        (tmp_path, "not a file"),
        (pipe, "not a file"),
        (Path("/dev/null"), "not a file"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "missing" / "rooms.sqlite3", "not a file"),
    ):
        with pytest.raises(StoreUnusable, match=why) as refused:
            async with open_sqlite_store(path):
                pass
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)
    with pytest.raises(StoreUnavailable, match="not a database"):
        async with open_sqlite_store(text):
            pass


async def test_a_refused_file_is_left_as_it_was(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite3"
    database = sqlite3.connect(foreign)
    database.execute("CREATE TABLE bookmarks (url TEXT)")
    database.close()
    before = foreign.read_bytes()
    with pytest.raises(StoreUnusable):
        async with open_sqlite_store(foreign):
            pass
    assert foreign.read_bytes() == before
    assert os.listdir(tmp_path) == [foreign.name]


async def test_a_file_that_is_locked_at_the_start_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match=r"^rooms.sqlite3: database is locked$"):
        async with open_sqlite_store(path, busy_timeout=0.01):
            pass
    blocker.close()
    async with open_sqlite_store(path) as store:
        assert await do(store, an_append("a", 1)) == "done"


async def break_connections(store: SqliteStore) -> None:
    """Make both connections fail as on a failing disk, so that they are reopened."""

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    for database in (store._write_connection, store._read_connection):
        with pytest.raises(StoreUnavailable, match=r"rooms.sqlite3: disk I/O error"):
            await database.call(fail)


async def unavailable(store: SqliteStore, append: Append, why: str) -> None:
    with pytest.raises(StoreUnavailable, match=why):
        await store.append(append)
    with pytest.raises(StoreUnavailable, match=why):
        await store.load("a", recent_syncs=9)


async def test_connections_are_reopened(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        await store.append(an_append("a", 1))
        await break_connections(store)
        await store.append(an_append("a", 2))
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_a_file_that_is_gone_is_no_empty_log(tmp_path: Path) -> None:
    path, aside = tmp_path / "rooms.sqlite3", tmp_path / "aside"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        await break_connections(store)
        path.rename(aside)
        await unavailable(store, an_append("a", 2), "the file is gone")
        path.touch()
        await unavailable(store, an_append("a", 2), "another file is in its place")
        aside.rename(path)
        await store.append(an_append("a", 2))
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_another_file_in_its_place_is_not_written_to(tmp_path: Path) -> None:
    path, aside = tmp_path / "rooms.sqlite3", tmp_path / "aside"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        await break_connections(store)
        path.rename(aside)
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE bookmarks (url TEXT)")
        database.close()
        before = path.read_bytes()
        await unavailable(store, an_append("a", 2), "another file is in its place")
        assert path.read_bytes() == before
        aside.rename(path)
        await store.append(an_append("a", 2))
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_a_commit_that_seemed_to_fail_may_be_repeated(tmp_path: Path) -> None:
    append = an_append("a", 1, 3, snapshot=True)

    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:

        def ambiguous(database: sqlite3.Connection) -> None:
            store._writer.append_all(database, [append])
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            await store._write_connection.call(ambiguous)
        await store.append(append)
        await store.append(an_append("a", 4))
        assert (await store.load("a", recent_syncs=9)).seq == 4


@pytest.mark.parametrize(
    "poison",
    [
        Append("bad", 1, (LoggedOp(b"{}", "\ud800"),), ()),
        Append("bad", 1, an_append("bad", 1).ops, (SyncRecord("0::", "s", 1, 2**64, b""),)),
        Append("bad", 1, (LoggedOp(b"{}", cast(str, b"bytes")),), ()),
        Append("bad", 1, (LoggedOp(cast(bytes, "text"), "bob"),), ()),
        Append("bad", 1, an_append("bad", 1).ops, (SyncRecord("0::", "\udfff", 1, 1, b""),)),
    ],
    ids=["by", "count", "bytes", "text", "sync"],
)
async def test_what_cannot_be_stored_fails_alone(tmp_path: Path, poison: Append) -> None:
    told: dict[str, str] = {}
    all_wait = Event()
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:

        async def append(one: Append) -> None:
            try:
                await store.append(one)
            except ValueError as error:
                told[one.gathering] = str(error)
            else:
                told[one.gathering] = "durable"

        async with trio.open_nursery() as nursery:
            # The writer is busy until all of them wait, and so takes them all at once.
            nursery.start_soon(store._write_connection.call, lambda _: all_wait.wait(60))
            await wait_all_tasks_blocked()
            for one in (an_append("a", 1), an_append("b", 1), poison, an_append("c", 1)):
                nursery.start_soon(append, one)
                await wait_all_tasks_blocked()
            all_wait.set()
        assert told.pop("bad").startswith("bad: can't be stored: ")
        assert told == dict.fromkeys("abc", "durable")
        assert store.commits == 1
        assert (await store.load("bad", recent_syncs=9)).seq == 0
        # The refused append leaves nothing that blocks the next.
        assert await do(store, an_append("bad", 1)) == "done"


async def test_a_connection_that_no_longer_flushes_acknowledges_nothing(tmp_path: Path) -> None:
    def refuse(action: int, name: str | None, value: str | None, *_: object) -> int:
        refused = (action, name, value) == (sqlite3.SQLITE_PRAGMA, "synchronous", "FULL")
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    batches = [[an_append("a", 1)], [an_append("a", 2)]]

    async with open_sqlite_store(tmp_path / "rooms.sqlite3", journal_bytes=100) as store:

        def commit(database: sqlite3.Connection) -> None:
            def report(outcomes: Sequence[Outcome]) -> None:
                assert outcomes == [None]
                del batches[0]
                database.set_authorizer(refuse)

            store._writer.append_batches(lambda: batches[0], report, lambda: None, database)

        # Before the second append the journal is folded, and the fold isn't flushed.
        with pytest.raises(StoreUnavailable, match="not authorized"):
            await store._write_connection.call(commit)
        assert batches == [[an_append("a", 2)]]
        await store.append(an_append("a", 2))
        [level] = await store._write_connection.call(
            lambda database: database.execute("PRAGMA synchronous").fetchone()
        )
        assert level == 2
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_a_connection_is_closed_whatever_its_last_calls_raise(tmp_path: Path) -> None:
    def no_memory(_: sqlite3.Connection) -> None:
        raise MemoryError

    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        await store.append(an_append("a", 1))
        await store._write_connection.disconnect(no_memory)
        assert store._write_connection._connection is None
        await store.append(an_append("a", 2))
