"""The SQLite store ends flushed, closed and folded back into one file, and leaves nothing."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from tests.stores.appends import an_append


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.sqlite3"


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    blocker = sqlite3.connect(path, isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        yield blocker
    finally:
        blocker.close()


def seqs(path: Path) -> dict[str, int]:
    database = sqlite3.connect(path)
    try:
        return dict(database.execute("SELECT id, head FROM gatherings"))
    finally:
        database.close()


def open_files() -> int:
    """Return the number of this process's open files, if the system tells it."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


class Told:
    """The outcomes of some tasks' appends."""

    def __init__(self) -> None:
        self.by_gathering: dict[str, str] = {}

    async def append(self, store: SqliteStore, append: Append) -> None:
        try:
            await store.append(append)
        except StoreUnavailable as error:
            self.by_gathering[append.gathering] = str(error)
        else:
            self.by_gathering[append.gathering] = "durable"


async def test_what_is_queued_is_flushed(path: Path) -> None:
    told = Told()
    async with trio.open_nursery() as outside, open_sqlite_store(path, busy_timeout=20) as store:
        with locked(path):
            for gathering in "abc":
                outside.start_soon(told.append, store, an_append(gathering, 1))
                await wait_all_tasks_blocked()
    assert told.by_gathering == dict.fromkeys("abc", "durable")
    assert seqs(path) == {"a": 1, "b": 1, "c": 1}


async def test_what_is_queued_is_flushed_when_all_is_cancelled(path: Path) -> None:
    told = Told()
    with trio.CancelScope() as everything:
        async with open_sqlite_store(path, busy_timeout=20) as store, trio.open_nursery() as inside:
            with locked(path):
                for gathering in "abc":
                    inside.start_soon(told.append, store, an_append(gathering, 1))
                    await wait_all_tasks_blocked()
            everything.cancel()
    # No caller was left to be told, but the store still keeps what a client sent.
    assert told.by_gathering == {}
    assert seqs(path) == {"a": 1, "b": 1, "c": 1}


async def test_a_shielded_cleanup_can_still_append(path: Path) -> None:
    with trio.CancelScope() as everything:
        async with open_sqlite_store(path) as store:
            everything.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.fail_after(5) as cleaning_up:
                    cleaning_up.shield = True
                    await store.append(an_append("a", 1))
    assert seqs(path) == {"a": 1}


async def test_an_append_that_cannot_be_flushed_fails(path: Path) -> None:
    told = Told()
    async with trio.open_nursery() as outside:
        async with open_sqlite_store(path, busy_timeout=0.01) as store:
            with locked(path):
                outside.start_soon(told.append, store, an_append("a", 1))
                outside.start_soon(told.append, store, an_append("b", 1))
                store._committer.stop(5)
                await wait_all_tasks_blocked()
        assert len(told.by_gathering) == 2
    assert set(told.by_gathering.values()) <= {
        "rooms.sqlite3: database is locked",
        "the store is closed",
    }


@pytest.mark.parametrize("flush_timeout", [0, 5, float("inf")])
async def test_closing_leaves_no_thread_and_no_task(path: Path, flush_timeout: float) -> None:
    before = open_files()
    for n in range(1, 4):
        async with open_sqlite_store(path, flush_timeout=flush_timeout) as store:
            await store.append(an_append("a", n))
            await store.load("a", recent_syncs=9)
    assert open_files() == before
    assert os.listdir(path.parent) == [path.name]
    assert seqs(path) == {"a": 3}
    limiters = (store._write_connection._limiter, store._read_connection._limiter)
    assert [limiter.borrowed_tokens for limiter in limiters] == [0, 0]


async def test_the_log_is_folded_back_though_somebody_else_reads(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1, 100))
        backup = sqlite3.connect(path)
        assert backup.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    assert path.with_name("rooms.sqlite3-wal").stat().st_size == 0
    assert backup.execute("SELECT count(*) FROM ops").fetchone() == (100,)
    backup.close()


async def test_a_closed_store_says_so_and_stays_closed(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.append(an_append("a", 2))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.load("a", recent_syncs=9)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read("a", after=0, up_to=1, max_bytes=9)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.find_syncs("a", ())
    assert os.listdir(path.parent) == [path.name]


async def test_an_error_in_the_block_comes_out_as_it_is(path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with open_sqlite_store(path):
            raise LookupError("mine")
    assert os.listdir(path.parent) == [path.name]


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_a_load_sees_an_append_whose_caller_was_cancelled(path: Path) -> None:
    async with open_sqlite_store(path, busy_timeout=20) as store, trio.open_nursery() as nursery:
        await store.append(an_append("a", 1))
        heads: list[int] = []

        async def load() -> None:
            heads.append((await store.load("a", recent_syncs=9)).seq)

        with locked(path):
            nursery.start_soon(store.append, an_append("b", 1))
            await wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_when_blocked, scope)
                await store.append(an_append("a", 2))
            assert scope.cancelled_caught
            nursery.start_soon(load)
            await wait_all_tasks_blocked()
    assert heads == [2]
