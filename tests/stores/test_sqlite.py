"""The SQLite store: group commit, migration, trouble with the file, and a clean end."""

import sqlite3
from pathlib import Path

import pytest
import trio
import trio.testing

from squire_gatherings.actors.store import Append, LoggedOp, SyncRecord
from squire_gatherings.edges.stores import open_sqlite_store
from squire_gatherings.edges.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS, VERSION
from squire_gatherings.values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings.values.op import Op
from tests.stores.appends import an_append, do


async def test_what_waits_during_a_commit_goes_into_the_next(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path, busy_timeout=20) as store:
        await store.append(an_append("first", 1))
        commits = store.commits
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.append, an_append("first", 2))
            await trio.testing.wait_all_tasks_blocked()
            for number in range(50):
                nursery.start_soon(store.append, an_append(f"g{number}", 1))
            await trio.testing.wait_all_tasks_blocked()
            blocker.execute("ROLLBACK")
        blocker.close()
        assert store.commits == commits + 2


async def test_a_conflict_fails_alone(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        outcomes: dict[str, str] = {}

        async def append(name: str, one: Append) -> None:
            outcomes[name] = await do(store, one)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, "good", an_append("a", 1))
            nursery.start_soon(append, "hole", an_append("b", 7))
            nursery.start_soon(append, "too", an_append("c", 1))
        assert outcomes == {"good": "done", "hole": "conflict", "too": "done"}


async def test_locked_then_free(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path, busy_timeout=0.01) as store:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.append(an_append("a", 1))
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.append(an_append("a", 1))
        assert (await store.load("a", recent_syncs=9)).seq == 1


async def test_full_then_not(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        big = an_append("a", 2, mark="x" * 300_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StoreUnavailable):
                await store.append(big)
            assert (await store.load("a", recent_syncs=9)).seq == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await store.append(big)
        assert (await store.load("a", recent_syncs=9)).seq == 2


async def test_corrupt_then_mended(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1, 50))
    good = path.read_bytes()
    async with open_sqlite_store(path) as store:
        path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
        with pytest.raises(StoreUnavailable):
            await store.load("a", recent_syncs=9)
        path.write_bytes(good)
        assert (await store.load("a", recent_syncs=9)).seq == 50


async def test_a_restore_reads_no_more_than_it_must(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        await store.append(an_append("a", 1, 100_000, snapshot=True))
        await store.append(an_append("a", 100_001, 5))
        restored = await store.load("a", recent_syncs=1)
        assert restored.seq == 100_005
        assert restored.snapshot is not None
        assert restored.snapshot.seq == 100_000
        assert len(restored.ops) == 5
        assert (len(restored.recent), restored.has_older) == (1, True)


async def test_an_older_file_migrates(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        old.execute(statement)
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO gatherings VALUES (1, 'a', 1)")
    old.execute("INSERT INTO ops VALUES (1, 1, 'alice', ?)", (b'{"n":1}',))
    old.execute("INSERT INTO syncs VALUES (1, '0::', 's1', 1, 1, 17)")
    old.close()
    async with open_sqlite_store(path) as store:
        restored = await store.load("a", recent_syncs=9)
        assert restored.ops == (LoggedOp(Op.of({"n": 1}), "alice"),)
        assert restored.recent == (SyncRecord("0::", "s1", 1, 1, 17),)
    new = sqlite3.connect(path)
    assert new.execute("PRAGMA user_version").fetchone() == (VERSION,)
    new.close()


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
    for path, why in (
        (newer, "version 999"),
        (foreign, "another program"),
        (tmp_path, "not a file"),
        (tmp_path / "missing" / "rooms.sqlite3", "not a file"),
    ):
        with pytest.raises(StoreUnusable, match=why):
            async with open_sqlite_store(path):
                pass
    with pytest.raises(StoreUnavailable, match="not a database"):
        async with open_sqlite_store(text):
            pass
