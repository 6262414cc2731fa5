"""The journal of the SQLite store: unfolded appends are read, are bounded, and survive a crash."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from squire_gatherings._rules.chain import head_after
from squire_gatherings._stores import MemoryStore, SqliteStore, open_sqlite_store
from squire_gatherings._stores.sqlite.journal import encode_entry
from squire_gatherings._stores.sqlite.reads import load
from squire_gatherings._stores.sqlite.schema import APPLICATION_ID, MIGRATIONS
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from tests.stores.appends import (
    all_of,
    an_append,
    another_writer,
    crashed_copy,
    do,
    fold_a_piece,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rooms.sqlite3"


@contextmanager
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


def count(path: Path, table: str) -> int:
    with other(path) as database:
        [number] = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert isinstance(number, int)
    return number


def write(path: Path, *appends: Append) -> None:
    """Write an entry as a faulty program would, which doesn't look at what is there."""
    with other(path) as database:
        database.execute("INSERT INTO journal (entry) VALUES (?)", (encode_entry(appends),))


async def as_memory(store: SqliteStore, appends: Sequence[Append]) -> None:
    memory = MemoryStore()
    for append in appends:
        await memory.append(append)
    for gathering in {append.gathering for append in appends}:
        assert await all_of(store, gathering) == await all_of(memory, gathering)


SOME = (
    an_append("a", 1, 3, snapshot=True),
    an_append("b", 1),
    an_append("a", 4),
    an_append("b", 2, 2, snapshot=True),
    an_append("a", 5, 2),
)


async def test_a_commit_is_one_row_until_it_is_folded(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)
        assert (count(path, "journal"), count(path, "ops")) == (len(SOME), 0)
        await as_memory(store, SOME)
        await store._write_connection.call(store._writer.fold)
        assert (count(path, "journal"), count(path, "ops")) == (0, 9)
        await as_memory(store, SOME)
        await store.append(an_append("b", 4))
        await as_memory(store, (*SOME, an_append("b", 4)))
    assert (count(path, "journal"), count(path, "ops")) == (0, 10)


async def test_a_fold_tells_nobody_from_names_that_look_like_it(path: Path) -> None:
    names = (None, "", "0", "a")
    some = [
        replace(one, ops=tuple(replace(op, by=by) for op in one.ops))
        for by, one in zip(names, (an_append("a", n) for n in range(1, 5)), strict=True)
    ]
    async with open_sqlite_store(path) as store:
        for append in some:
            await store.append(append)
        await store.fold()
        assert count(path, "ops") == len(names)
        await as_memory(store, some)
        read = await store.read("a", after=0, up_to=4, max_bytes=1 << 20)
        assert tuple(one.by for one in read) == names


@pytest.mark.parametrize("limit", [0, 1000, 1 << 20])
async def test_a_crash_before_the_fold_loses_nothing(path: Path, limit: int) -> None:
    async with open_sqlite_store(path, journal_bytes=limit) as store:
        for append in SOME:
            await store.append(append)
        copy = crashed_copy(path)
    async with open_sqlite_store(copy) as store:
        assert count(copy, "journal") == 0
        await as_memory(store, SOME)
        for append in SOME:
            assert await do(store, append) == "done"
        await as_memory(store, SOME)
        assert await do(store, an_append("a", 7, sync="s1")) == "conflict"


async def test_a_crash_in_the_midst_of_a_fold_leaves_the_journal(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)

        def interrupted(database: sqlite3.Connection) -> None:
            database.set_trace_callback(statements.append)
            database.set_authorizer(refuse_to_delete)
            try:
                store._writer.fold(database)
            finally:
                database.set_authorizer(None)
                database.set_trace_callback(None)

        def refuse_to_delete(action: int, table: str | None, *_: object) -> int:
            is_end = action == sqlite3.SQLITE_DELETE and table == "journal"
            return sqlite3.SQLITE_DENY if is_end else sqlite3.SQLITE_OK

        statements: list[str] = []
        with pytest.raises(StoreUnavailable):
            await store._write_connection.call(interrupted)
        assert any(sql.startswith("INSERT INTO ops") for sql in statements)
        assert (count(path, "journal"), count(path, "ops")) == (len(SOME), 0)
        await as_memory(store, SOME)
        await store.append(an_append("b", 4))
        await as_memory(store, (*SOME, an_append("b", 4)))


async def synchronous(store: SqliteStore) -> int:
    [level] = await store._write_connection.call(
        lambda database: database.execute("PRAGMA synchronous").fetchone()
    )
    assert isinstance(level, int)
    return level


FULL = 2


async def commit_only(store: SqliteStore, append: Append) -> None:
    """Commit without a session, which would go on folding."""
    [outcome] = await store._write_connection.call(
        lambda database: store._writer.append_all(database, [append])
    )
    assert outcome is None


@pytest.mark.parametrize("pieces", [1, 2, 3, 4, 5])
async def test_folding_piece_by_piece_is_seen_by_nobody(path: Path, pieces: int) -> None:
    """Commit, repeat, refuse and crash between two pieces."""
    names = "dbeac"
    appends = [an_append(name, n, snapshot=n == 2) for n in (1, 2, 3) for name in names]
    async with open_sqlite_store(path) as store:
        store._writer.piece = 1
        for append in appends:
            await store.append(append)
        for done in range(1, pieces + 1):
            assert await fold_a_piece(store) == (done < 5)
            assert await synchronous(store) == FULL
            entries = 14 + done if done < 5 else done - 1
            assert (count(path, "journal"), count(path, "gatherings")) == (entries, done)
            appends.append(an_append("b", 3 + done, sync=f"more{done}"))
            await commit_only(store, appends[-1])
            await as_memory(store, appends)
            async with open_sqlite_store(crashed_copy(path)) as another:
                await as_memory(another, appends)
        # Each conflicts with a sync in the tables, in the journal, or after both.
        wrong = [an_append(name, 4, sync="s1") for name in "deac"]
        wrong.append(an_append("b", 4 + pieces, sync="s1"))
        wrong.append(an_append("b", 4 + pieces, sync=f"more{pieces}"))
        for conflict in wrong:
            async with open_sqlite_store(crashed_copy(path)) as another:
                assert await do(another, conflict) == "conflict"
        assert await do(store, wrong[pieces]) == "conflict"
        for append in appends:
            assert await do(store, append) == "done"
        await as_memory(store, appends)
    assert (count(path, "journal"), count(path, "ops")) == (0, 15 + pieces)
    assert count(path, "refused") == 0


@asynccontextmanager
async def a_fold_begun(path: Path) -> AsyncIterator[tuple[SqliteStore, list[Append]]]:
    """A store that has two appends of each of three gatherings, and has folded one of these."""
    appends = [an_append(name, n) for n in (1, 2) for name in "abc"]
    async with open_sqlite_store(path) as store:
        store._writer.piece = 1
        for append in appends:
            await store.append(append)
        assert await fold_a_piece(store)
        yield store, appends


@pytest.mark.parametrize("how", ["broken", "written to by others", "folded", "closed"])
async def test_folding_piece_by_piece_may_be_interrupted(path: Path, how: str) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with a_fold_begun(path) as (store, appends):
        appends.append(an_append("b", 3))
        await commit_only(store, appends[-1])
        match how:
            case "broken":
                with pytest.raises(StoreUnavailable):
                    await store._write_connection.call(fail)
            case "written to by others":
                async with another_writer(path) as another:
                    appends.append(an_append("b", 4))
                    await another.append(appends[-1])
            case "folded":
                await store._write_connection.call(store._writer.fold)
        if how != "closed":
            await as_memory(store, appends)
            assert not await fold_a_piece(store) or how == "broken"
            await as_memory(store, appends)
            appends.append(an_append("c", 3))
            await store.append(appends[-1])
            await as_memory(store, appends)
    async with open_sqlite_store(path) as store:
        await as_memory(store, appends)
    assert (count(path, "journal"), count(path, "refused")) == (0, 0)


async def test_a_lock_puts_a_piece_off(path: Path) -> None:
    async with a_fold_begun(path) as (store, appends):
        with other(path) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            assert not await fold_a_piece(store)
            assert await synchronous(store) == FULL
            await as_memory(store, appends)
        assert await fold_a_piece(store)
        assert not await fold_a_piece(store)
        assert (count(path, "journal"), count(path, "ops")) == (0, 6)
        await as_memory(store, appends)


async def test_pieces_that_do_not_fit_lose_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_fold_begun(path) as (store, appends):

        def defect(database: sqlite3.Connection) -> None:
            database.execute("INSERT INTO gatherings (id, head) VALUES ('b', 7)")

        await store._write_connection.call(defect)
        with caplog.at_level(logging.ERROR):
            assert not await fold_a_piece(store)
        assert len(caplog.records) == count(path, "refused") == 2
        await as_memory(store, [append for append in appends if append.gathering != "b"])
        assert await do(store, an_append("a", 3)) == "done"


async def test_a_session_folds_when_there_is_nothing_to_commit(path: Path) -> None:
    limit = 6000
    async with open_sqlite_store(path, journal_bytes=limit) as store:
        store._writer.piece = 4
        appends = [an_append(name, n) for n in range(1, 40) for name in "abc"]
        largest = 0
        for append in appends:
            await store.append(append)
            largest = max(largest, store._writer.unfolded.size)
        assert largest <= limit
        assert count(path, "ops") > len(appends) // 2
        await as_memory(store, appends)


async def test_folding_bounds_the_journal(path: Path) -> None:
    limit = 3000
    async with open_sqlite_store(path, journal_bytes=limit) as store:
        appends = [an_append("a", n) for n in range(1, 40)]
        largest = folded = 0
        for append in appends:
            await store.append(append)
            with other(path) as database:
                [size] = database.execute("SELECT total(length(entry)) FROM journal").fetchone()
            largest = max(largest, size)
            folded = max(folded, count(path, "ops"))
        assert 0 < largest <= limit
        assert folded > 20
        assert store._writer.unfolded.size <= limit
        await as_memory(store, appends)


async def test_folding_waits_for_a_second_append_but_not_for_ever(path: Path) -> None:
    limit = 1000
    async with open_sqlite_store(path, journal_bytes=limit) as store:
        largest = 0
        for n in range(60):
            await store.append(an_append(f"g{n}", 1))
            largest = max(largest, store._writer.unfolded.size)
        assert limit < largest <= 4 * limit
        assert count(path, "ops") > 0


async def test_what_is_much_too_large_goes_straight_into_the_tables(path: Path) -> None:
    async with open_sqlite_store(path, journal_bytes=100) as store:
        await store.append(an_append("a", 1))
        await store.append(an_append("a", 2, mark="x" * 5000))
        assert (count(path, "journal"), count(path, "ops")) == (0, 2)
        # The store still knows its head.
        assert await do(store, an_append("a", 2)) == "conflict"
        assert await do(store, an_append("a", 3)) == "done"
        assert (await store.load("a", recent_syncs=9)).seq == 3


async def test_many_gatherings_in_one_fold(path: Path) -> None:
    names = [f"g{number}" for number in range(700)]
    async with open_sqlite_store(path) as store:
        for first in (1, 2, 3):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(store.append, an_append(name, first, snapshot=first == 2))
            if first == 1:
                await store._write_connection.call(store._writer.fold)
        appends = [an_append(name, n, snapshot=n == 2) for name in names for n in (1, 2, 3)]
        for name in names[::99]:
            await as_memory(store, [append for append in appends if append.gathering == name])
    assert (count(path, "gatherings"), count(path, "ops")) == (700, 2100)
    assert (count(path, "syncs"), count(path, "snapshots")) == (2100, 700)
    assert count(path, "refused") == 0


async def test_heads_are_forgotten_and_looked_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squire_gatherings._stores.sqlite.writer.CACHED_HEADS", 2)
    async with open_sqlite_store(path, journal_bytes=800) as store:
        for first in (1, 2, 3):
            for name in "abcde":
                assert await do(store, an_append(name, first)) == "done"
                assert await do(store, an_append(name, first, mark="x")) == "conflict"
        assert len(store._writer._heads) <= 5
        await as_memory(store, [an_append("c", n) for n in (1, 2, 3)])


async def test_a_reader_sees_the_journal_of_a_locked_file(path: Path) -> None:
    async with open_sqlite_store(path, busy_timeout=0.01) as store:
        for append in SOME:
            await store.append(append)
        with other(path) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.append(an_append("a", 7))
            await as_memory(store, SOME)
            assert await store.sync_ids("a", "0::", limit=2) == ("s1", "s4")


async def test_a_broken_connection_hides_no_journal(path: Path) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)
        with pytest.raises(StoreUnavailable):
            await store._write_connection.call(fail)
        await as_memory(store, SOME)
        await store.append(an_append("a", 7))
        assert count(path, "journal") == 1
        await as_memory(store, (*SOME, an_append("a", 7)))


async def test_a_reader_that_was_overtaken_by_a_fold_reads_each_once(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)
        unfolded = store._writer.unfolded.of("a")
        expected = await store.load("a", recent_syncs=9)
        await store._write_connection.call(store._writer.fold)
        late = await store._read_connection.call(lambda database: load(database, "a", 9, unfolded))
        assert late == expected
        # A store whose memory was empty finds everything in the file.
        await store.append(an_append("a", 7))
        early = await store._read_connection.call(lambda database: load(database, "a", 9, (0, ())))
        assert early == await store.load("a", recent_syncs=9)
        assert early.seq == 7


async def test_a_file_that_is_locked_at_the_end_is_folded_by_the_next(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
    blocker.close()
    assert count(path, "journal") == len(SOME)
    async with open_sqlite_store(path) as store:
        assert count(path, "journal") == 0
        await as_memory(store, SOME)


async def test_two_writers_notice_each_other(path: Path) -> None:
    async with open_sqlite_store(path) as one, another_writer(path) as two:
        appends = [an_append("a", n) for n in range(1, 9)]
        for n, append in enumerate(appends):
            mine, theirs = (one, two) if n % 3 else (two, one)
            assert await do(mine, append) == "done"
            assert (await theirs.load("a", recent_syncs=9)).seq == n + 1
            assert await do(theirs, an_append("a", n + 1, mark="x")) == "conflict"
            assert await do(theirs, an_append("a", n + 2, sync="s1")) == "conflict"
            assert await do(theirs, append) == "done"
        await as_memory(one, appends)
        await as_memory(two, appends)
    assert count(path, "refused") == 0


async def test_a_store_does_not_take_its_own_commits_for_anothers(path: Path) -> None:
    async with open_sqlite_store(path) as store:
        for n in range(1, 11):
            await store.append(an_append("a", n))
            await store.load("a", recent_syncs=9)
        assert count(path, "journal") == 10


async def test_what_does_not_fit_is_reported_and_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        write(path, an_append("a", 1, mark="x"), an_append("b", 1), an_append("c", 7))
        with other(path) as database:
            database.execute("INSERT INTO journal (entry) VALUES (?)", (b"\xc1",))
        write(path, an_append("b", 2, sync="s1"), an_append("a", 2))
        with caplog.at_level(logging.ERROR):
            await store.append(an_append("d", 1))
        await as_memory(store, [an_append("a", 1), an_append("a", 2)])
        await as_memory(store, [an_append("b", 1)])
        assert [record.__dict__["why"][:12] for record in caplog.records] == [
            "a: a ends at",
            "c: c is empt",
            "entry 3 of t",
            "b: UNIQUE co",
        ]
    with other(path) as database:
        kept = [entry for [entry] in database.execute("SELECT entry FROM refused ORDER BY number")]
    assert kept[0] == encode_entry([an_append("a", 1, mark="x")])
    assert kept[2] == b"\xc1"


async def test_a_journal_that_does_not_fit_its_tables_blocks_nobody(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(path) as store:
        for append in SOME:
            await store.append(append)

        def defect(database: sqlite3.Connection) -> None:
            # The change comes through the same connection, so that only the fold notices it.
            database.execute("INSERT INTO gatherings (id, head) VALUES ('a', 2)")

        await store._write_connection.call(defect)
        with caplog.at_level(logging.ERROR):
            await store._write_connection.call(store._writer.fold)
        await as_memory(store, [append for append in SOME if append.gathering == "b"])
        assert await do(store, an_append("b", 4)) == "done"
        assert await do(store, an_append("a", 3)) == "done"
        assert count(path, "refused") == 3
        # Who deletes the log deletes this, too; that of others stays.
        assert await store.delete("b", time=1) is not None
        assert count(path, "refused") == 3
        assert await store.delete("a", time=1) is not None
        assert count(path, "refused") == 0
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


async def test_one_append_that_does_not_fit_leaves_the_others(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(path) as store:
        await store.append(an_append("b", 1))
        await store._write_connection.call(store._writer.fold)
        for append in (an_append("a", 1), an_append("b", 2), an_append("a", 2)):
            await store.append(append)

        def defect(database: sqlite3.Connection) -> None:
            database.execute("INSERT INTO syncs VALUES (1, '0::', 's2', 1, 1, x'11')")

        await store._write_connection.call(defect)
        with caplog.at_level(logging.ERROR):
            await store._write_connection.call(store._writer.fold)
        await as_memory(store, [an_append("a", 1), an_append("a", 2)])
        assert (await store.load("b", recent_syncs=9)).seq == 1
        assert await do(store, an_append("b", 2, mark="x")) == "done"
    [record] = caplog.records
    assert record.__dict__["why"].endswith(
        "b: UNIQUE constraint failed: syncs.gathering, syncs.scope, syncs.id"
    )
    assert (count(path, "refused"), count(path, "ops")) == (1, 4)


async def test_a_file_of_version_2_migrates(path: Path) -> None:
    with other(path) as old:
        for statements in MIGRATIONS[:2]:
            for statement in statements:
                old.execute(statement)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 2")
        old.execute("INSERT INTO gatherings VALUES (1, 'a', 1)")
        old.execute("INSERT INTO ops VALUES (1, 1, 'alice', ?)", (an_append("a", 1).ops[0].json,))
        old.execute("INSERT INTO syncs VALUES (1, '0::', 's1', 1, 1, 17)")
    was = Append(
        "a",
        1,
        (LoggedOp(an_append("a", 1).ops[0].json, "alice"),),
        (SyncRecord("0::", "s1", 1, 1, b"\0\0\0\x11"),),
    )
    was = replace(was, head=head_after(b"", was))
    async with open_sqlite_store(path) as store:
        await as_memory(store, [was])
        assert await do(store, an_append("a", 2, sync="s1")) == "conflict"
        await store.append(an_append("a", 2))
        await as_memory(store, [was, an_append("a", 2)])


@pytest.mark.parametrize(
    "poison",
    [
        Append("bad", 1, an_append("bad", 1).ops, (SyncRecord("0::", "s", 1, 2**63, b""),)),
        Append("bad", 1, an_append("bad", 1).ops, (), Snapshot(-(2**63) - 1, b"{}")),
        Append("ba\ud800d", 1, an_append("bad", 1).ops, ()),
    ],
    ids=["count", "snapshot", "gathering"],
)
async def test_what_the_tables_cannot_hold_stays_out_of_the_journal(
    path: Path, poison: Append
) -> None:
    async with open_sqlite_store(path) as store:
        with pytest.raises(ValueError, match="can't be stored"):
            await store.append(poison)
        await store.append(an_append("a", 1))
        assert count(path, "journal") == 1
    assert (count(path, "journal"), count(path, "refused")) == (0, 0)


async def test_extreme_values_are_read_back(path: Path) -> None:
    append = Append(
        "a",
        1,
        (LoggedOp(b'{"text":"\0"}', "Zoë\0\U0001f3c6"), LoggedOp(b"{}", None)),
        (SyncRecord("0::", "", 1, 2**63 - 1, b""),),
    )
    async with open_sqlite_store(path) as store:
        await store.append(append)
        for _ in range(2):
            restored = await store.load("a", recent_syncs=9)
            assert (restored.ops, restored.recent) == (append.ops, append.syncs)
            await store._write_connection.call(store._writer.fold)


async def test_one_batch_may_go_on_where_it_began(path: Path) -> None:
    async with open_sqlite_store(path, busy_timeout=20) as store:
        told: dict[int, str] = {}

        async def append(number: int, one: Append) -> None:
            told[number] = await do(store, one)

        with other(path) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                for number, one in enumerate((an_append("z", 1), *SOME)):
                    nursery.start_soon(append, number, one)
                    await wait_all_tasks_blocked()
                blocker.execute("ROLLBACK")
        assert told == dict.fromkeys(range(6), "done")
        assert count(path, "journal") == 1
        await as_memory(store, SOME)
