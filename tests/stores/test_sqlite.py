"""The SQLite store: group commit, how much a restore reads, and migration."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import trio
import trio.testing

from squire_gatherings._rules.chain import head_after, next_head, state_digest
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite import connection
from squire_gatherings._stores.sqlite.connection import WAL_BYTES, Database
from squire_gatherings._stores.sqlite.migration import AT_ONCE
from squire_gatherings._stores.sqlite.place import Place
from squire_gatherings._stores.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION
from squire_gatherings._values.errors import StoreUnavailable, SyncIdReused
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings._values.messages import Sync
from squire_gatherings._values.op import Op
from tests.stores.appends import FINGERPRINT, an_append, beside, do


async def test_appends_that_wait_during_a_commit_go_together(tmp_path: Path) -> None:
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
        assert store.commits == commits + 1


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
        assert restored.ops == (LoggedOp(Op.of({"n": 1}).json, "alice"),)
        assert restored.recent == (SyncRecord("0::", "s1", 1, 1, b"\0\0\0\x11"),)
    new = sqlite3.connect(path)
    assert new.execute("PRAGMA user_version").fetchone() == (VERSION,)
    new.close()


async def test_a_file_of_schema_3_migrates_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema3.sql").read_text())
        assert old.execute("SELECT count(*) FROM journal").fetchone() == (3,)
    async with open_sqlite_store(path) as store:
        ops = [
            LoggedOp(Op.of({"n": n}).json, by) for n, by in enumerate(["alice"] * 2 + ["bob"], 1)
        ]
        assert await store.read("friday", after=0, up_to=3, max_bytes=999) == tuple(ops)
        for _ in range(2):
            restored = await store.load("friday", recent_syncs=9)
            assert (restored.seq, restored.epoch) == (5, "")
            assert restored.snapshot is not None
            assert (restored.snapshot.seq, restored.snapshot.state) == (3, b'{"at":3}')
            assert restored.ops == tuple(LoggedOp(Op.of({"n": n}).json, None) for n in (4, 5))
            # The syncs are recognised, those from the journal included.
            sent = [Sync("first", 0, tuple(logged.op for logged in ops[:2]))]
            sent += [Sync("second", 0, (ops[2].op,)), Sync("third", 0, tuple(just(restored.ops)))]
            for record, sync in zip(restored.recent, sent, strict=True):
                assert OpLog.same(record, sync) is record
                with pytest.raises(SyncIdReused):
                    OpLog.same(record, Sync(sync.id, 0, (Op.of({"n": 0}),)))
            monday = await store.load("monday", recent_syncs=9)
            assert monday.ops == (LoggedOp(Op.of({"n": 1}).json, None),)
            await store._write_connection.call(store._writer.fold)
        logged = LoggedOp(Op.of({"n": 6}).json, None, "new")
        await store.append(Append("friday", 6, (logged,), ()))
    async with open_sqlite_store(path) as store:
        restored = await store.load("friday", recent_syncs=9)
        assert (restored.epoch, [one.epoch for one in restored.ops]) == ("new", ["", "", "new"])
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("SELECT * FROM epochs").fetchall() == [(1, 6, "new")]


async def test_a_file_of_schema_4_migrates_with_its_journal_and_is_chained(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema4.sql").read_text())
        assert old.execute("SELECT count(*) FROM journal").fetchone() == (2,)

    def an_op(n: int, by: str | None, epoch: str) -> LoggedOp:
        return LoggedOp(Op.of({"n": n}).json, by, epoch)

    before = (an_op(1, "alice", ""), an_op(2, "alice", "one"), an_op(3, "bob", "one"))
    friday = (*before, an_op(4, None, "two"), an_op(5, None, "two"))
    async with open_sqlite_store(path) as store:
        assert await store.read("friday", after=0, up_to=9, max_bytes=999) == friday
        restored = await store.load("friday", recent_syncs=9)
        # A snapshot ends a piece, so that the chain has a head there, and so does the log's end.
        first = next_head(b"", "friday", 1, friday[:3], restored.recent[:2])
        second = next_head(first, "friday", 4, friday[3:], restored.recent[2:])
        assert (restored.seq, restored.epoch, restored.time) == (5, "two", 0)
        state = b'{"at":3}'
        assert restored.snapshot == Snapshot(3, state, state_digest(first, state))
        assert restored.head == second
        monday = await store.load("monday", recent_syncs=9)
        assert monday.head == next_head(b"", "monday", 1, (an_op(1, None, "two"),), monday.recent)
        # The chain continues there.
        log = OpLog(1000, 9, "three")
        log.restore(restored)
        log.add([Op.of({"n": 6})], key=("", "s"), mark=FINGERPRINT, by="eve", time=99)
        append = log.append("friday")
        await store.append(append)
        assert append.head == head_after(second, append)
    async with open_sqlite_store(path) as store:
        restored = await store.load("friday", recent_syncs=9)
        assert (restored.seq, restored.time, restored.head) == (6, 99, append.head)


async def test_many_older_ops_are_chained_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    count = 2 * AT_ONCE + 7
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema4.sql").read_text())
        old.execute("DELETE FROM journal")
        old.execute("INSERT INTO gatherings VALUES (9, 'long', ?)", (count,))
        rows = [(9, n, None, b'{"n":%d}' % n) for n in range(1, count + 1)]
        old.executemany("INSERT INTO ops VALUES (?, ?, ?, ?)", rows)
        syncs = [(9, "", f"s{n}", n, 1, FINGERPRINT) for n in range(1, count + 1)]
        old.executemany("INSERT INTO syncs VALUES (?, ?, ?, ?, ?, ?)", syncs)
        old.commit()
    async with open_sqlite_store(path) as store:
        ops = await store.read("long", after=0, up_to=count, max_bytes=10**6)
        restored = await store.load("long", recent_syncs=count)
    head = b""
    for first in range(0, count, AT_ONCE):
        some = slice(first, first + AT_ONCE)
        head = next_head(head, "long", first + 1, ops[some], restored.recent[some])
    assert restored.head == head
    with closing(sqlite3.connect(path)) as new:
        ends = new.execute("SELECT seq FROM ops WHERE gathering = 9 AND head NOTNULL").fetchall()
    assert ends == [(AT_ONCE,), (2 * AT_ONCE,), (count,)]


async def test_a_state_that_was_changed_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1, 3, snapshot=True))
        await store.append(an_append("a", 4))
        assert (await store.load("a", recent_syncs=1)).snapshot is not None
        await store._write_connection.call(store._writer.fold)
        assert (await store.load("a", recent_syncs=1)).snapshot is not None
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE snapshots SET state = x'30'")
    async with open_sqlite_store(path) as store:
        with pytest.raises(StoreUnavailable, match="the snapshot of op 3 isn't what was committed"):
            await store.load("a", recent_syncs=1)
        # Its ops can still be read.
        assert len(await store.read("a", after=0, up_to=9, max_bytes=999)) == 4


def just(logged: Iterable[LoggedOp]) -> Iterator[Op]:
    return (one.op for one in logged)


async def test_two_migrate_one_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    opened = 0

    place = Place.find(path)

    async def migrate() -> None:
        nonlocal opened
        database = Database(place, 20, may_be_empty=True)
        await database.open()
        [version] = await database.call(lambda it: it.execute("PRAGMA user_version").fetchone())
        assert version == VERSION
        opened += 1
        await database.close()

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(migrate)
    assert opened == 8
    place.leave()


async def test_a_restore_sorts_no_syncs(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path):
        pass
    database = sqlite3.connect(path)
    plan = database.execute(
        "EXPLAIN QUERY PLAN"
        " SELECT * FROM syncs WHERE gathering = ? ORDER BY first_seq DESC LIMIT ?",
        (1, 1),
    ).fetchall()
    database.close()
    assert len(plan) == 1
    assert "newest_syncs" in plan[0][-1]


async def test_rows_are_durable_when_it_says_so(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        for database in (store._write_connection, store._read_connection):
            [mode] = await database.call(lambda it: it.execute("PRAGMA journal_mode").fetchone())
            [sync] = await database.call(lambda it: it.execute("PRAGMA synchronous").fetchone())
            assert (mode, sync) == ("wal", 2)


async def test_a_write_ahead_log_that_grew_shrinks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An eighth of what they are.
    kept = WAL_BYTES // 8
    monkeypatch.setattr(connection, "WAL_BYTES", kept)
    monkeypatch.setattr(connection, "CHECKPOINT_PAGES", connection.CHECKPOINT_PAGES // 8)
    path = tmp_path / "rooms.sqlite3"
    wal = beside(path, "-wal")
    async with open_sqlite_store(path) as store:
        seqs = count(1)

        async def write(number: int) -> None:
            for _ in range(number):
                await store.append(an_append("a", next(seqs), mark="x" * 1_000_000))

        await write(1)
        with closing(sqlite3.connect(path, isolation_level=None)) as backup:
            backup.execute("BEGIN")
            backup.execute("SELECT count(*) FROM ops").fetchone()
            await write(5)
            assert wal.stat().st_size > kept
            backup.execute("ROLLBACK")
        # The journal is folded between commits, as far as there is time: then nothing shrinks yet.
        for _ in range(8):
            await write(1)
            if wal.stat().st_size <= kept:
                break
        assert wal.stat().st_size <= kept
