"""The verification: it finds every byte that was changed in a file."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from secrets import randbelow

import pytest
import trio
from attrs import evolve
from msgspec.structs import replace

from squire_gatherings import Identity, open_hall
from squire_gatherings._rules.chain import head_after, head_of, state_digest, tombstone_digest
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._stores.findings import Report, Wrong
from squire_gatherings._stores.sqlite.journal import encode_entry
from squire_gatherings._stores.sqlite.migration import chain_all
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings._values.events import EventKind
from squire_gatherings._values.log import Append, Snapshot
from tests.stores.appends import (
    a_sleeper,
    an_append,
    an_event,
    beside,
    crashed_copy,
    fold_a_piece,
    in_epoch,
)
from tests.support import Sum, examples

TABLES = (
    "gatherings",
    "ops",
    "epochs",
    "syncs",
    "snapshots",
    "tombstones",
    "events",
    "incarnations",
    "sleepers",
)


def look(path: Path, *gatherings: str) -> Report:
    return verify(path, gatherings, lambda _, __: None)


def wrong(path: Path, *gatherings: str) -> list[Wrong]:
    return look(path, *gatherings).wrong


class Clock:
    """A time of day that also goes back. It stands still at the end."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times: Iterator[float] = iter(times)
        self.last = times[-1]

    def __call__(self) -> float:
        return next(self.times, self.last)


async def live(path: Path, *, fold: bool) -> Path:
    """Let some gatherings live in a file; return a copy that has the journal, too, if not `fold`.

    There are syncs of one op and of several, named and anonymous, two incarnations, and snapshots.
    """
    async with open_sqlite_store(path) as store:
        clock = Clock([1.7e9 + n for n in (0.005, 0.009, 0.003, 0.7, 0.8, 0.9, 1, 1.1)])
        for first in (1, 3):
            async with open_hall(
                store=store, behaviour=Sum, snapshot_every=2, wall_clock=clock
            ) as hall:
                alice = Identity("alice")
                await hall.submit("friday", [{"add": first}], identity=alice, sync_id=f"s{first}")
                await hall.submit("friday", [{"add": 2}, {"add": 3}], identity=Identity("bob"))
                await hall.submit("monday", [{"add": first}])
            if fold and first == 1:
                await fold_all(store)
        await store.write_events([an_event(1, EventKind.OPENED), an_event(2)])
        await store.write_sleep(asleep=[a_sleeper()], awake=[])
        with closing(sqlite3.connect(path)) as database, database:
            # Nothing here makes tombstones, so the test does.
            said = ("gone", 7, b"h" * 32, 99)
            row = (*said, tombstone_digest(*said))
            database.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?, ?)", row)
        return path if fold else crashed_copy(path)


async def fold_all(store: SqliteStore) -> None:
    await store._write_connection.call(store._writer.fold)


def contents(data: bytes) -> object:
    """Return all that SQLite reads from a file with these bytes; None if it can't read it."""
    with closing(sqlite3.connect(":memory:")) as database:
        try:
            database.deserialize(data)
            database.text_factory = bytes
            found = [database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
            return [*found, database.execute("SELECT entry FROM journal").fetchall()]
        except (sqlite3.Error, UnicodeDecodeError):
            return None


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "with its journal"])
async def test_every_byte_counts(tmp_path: Path, fold: bool) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=fold)
    with closing(sqlite3.connect(path)) as database:
        # Make it one file with as few pages as possible.
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA page_size = 512")
        database.execute("VACUUM")
        assert (database.execute("SELECT count(*) FROM journal").fetchone() == (0,)) == fold
    report = look(path)
    assert report.wrong == []
    assert [(one.gathering, one.seq) for one in report.proven] == [("friday", 6), ("monday", 2)]
    assert report.ops == 8
    data = path.read_bytes()
    before = contents(data)
    assert before is not None
    changed = 0
    flipped = tmp_path / "flipped.sqlite3"
    # All bytes take five seconds: `make test-long` tries them.
    step = 1 if examples(1) > 1 else 13
    for place in range(100, len(data), step):
        one = bytearray(data)
        one[place] ^= randbelow(255) + 1 if step == 1 else (0x01, 0x80, 0xFF)[place // step % 3]
        if contents(bytes(one)) == before:
            continue
        flipped.write_bytes(one)
        changed += 1
        try:
            found = wrong(flipped)
        except (StoreUnusable, StoreUnavailable):
            # The file can't be opened as a store at all.
            continue
        assert found, f"byte {place} was {data[place]:#x} and is {one[place]:#x}"
    assert changed > 3000 / step


@pytest.mark.parametrize(
    "change",
    ["NULL", "x''", "substr(time_before, 1, 39)", "CAST(x'01' || substr(time_before, 2) AS BLOB)"],
)
async def test_the_time_of_what_was_left_out_is_proven(tmp_path: Path, change: str) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=True)
    async with open_sqlite_store(path) as store:
        assert await store.compact("friday", up_to=6) > 1
    assert wrong(path) == []
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE gatherings SET time_before = {change} WHERE id = 'friday'")
    [found] = wrong(path)
    assert "the time of what was left out" in found.what


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE ops SET op = x'7b7d' WHERE seq = 3", ("friday", 3, "the ops from 2 to 3")),
        ("UPDATE ops SET time = time + 1 WHERE seq = 5", ("friday", 6, "the ops from 5 to 6")),
        ("UPDATE ops SET head = NULL WHERE seq = 6", ("friday", 6, "no head for the ops from 5")),
        ("DELETE FROM ops WHERE seq = 2 AND by = 'bob'", ("friday", 2, "op 3 comes where")),
        ("DELETE FROM ops WHERE seq = 6", ("friday", 5, "no head")),
        ("DELETE FROM ops WHERE seq > 4", ("friday", 5, "the log ends at 4, not at 6")),
        ("DELETE FROM syncs WHERE first_seq = 4", ("friday", 4, "the ops from 4 to 4")),
        ("UPDATE syncs SET count = 9 WHERE first_seq = 5", ("friday", 6, "the ops from 5 to 6")),
        ("INSERT INTO syncs VALUES (1, 'x', 'y', 7, 1, x'00')", ("friday", 6, "syncs has a row")),
        ("INSERT INTO epochs VALUES (1, 9, 'x')", ("friday", 6, "epochs has a row")),
        (
            "UPDATE snapshots SET state = x'30' WHERE seq = 6",
            ("friday", 6, "the snapshot of op 6 isn't"),
        ),
        (
            "UPDATE snapshots SET seq = 5 WHERE gathering = 1 AND seq = 6",
            ("friday", 5, "where no append ended"),
        ),
        ("UPDATE gatherings SET first_seq = 2 WHERE key = 1", ("friday", 2, "beginning")),
        (
            "UPDATE gatherings SET time_before = x'01'",
            ("friday", 0, "the time of what was left out"),
        ),
        ("UPDATE gatherings SET id = 'fridax' WHERE key = 1", ("fridax", 1, "another head")),
        ("UPDATE tombstones SET seq = 8", ("gone", 8, "its tombstone")),
        (
            "INSERT INTO ops VALUES (9, 1, NULL, x'7b7d', 0, NULL)",
            (None, None, "ops of a gathering 9"),
        ),
        ("DROP INDEX newest_syncs", (None, None, "newest_syncs isn't as it was made")),
        ("INSERT INTO journal (entry) VALUES (x'9196')", (None, None, "entry 7 can't be read")),
    ],
)
async def test_it_says_where(
    tmp_path: Path, statement: str, found: tuple[str | None, int | None, str]
) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(statement)
    [first, *_] = wrong(path)
    gathering, seq, what = found
    assert (first.gathering, first.seq) == (gathering, seq)
    assert what in first.what


async def test_a_chain_that_was_made_anew_has_another_head(tmp_path: Path) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=True)
    [_, before] = look(path).proven
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE ops SET op = ? WHERE gathering = 2 AND seq = 1", (b'{"add":9}',))
        database.execute("UPDATE ops SET head = NULL")
        chain_all(database)
    report = look(path, "monday")
    assert report.wrong == []
    assert report.proven[0].seq == before.seq
    assert report.proven[0].head != before.head


async def test_only_the_named_gatherings_are_verified(tmp_path: Path) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE ops SET by = 'eve' WHERE gathering = 1 AND seq = 3")
    assert [one.gathering for one in wrong(path)] == ["friday"]
    assert wrong(path, "monday") == []
    assert [one.gathering for one in wrong(path, "monday", "friday")] == ["friday"]
    [unknown] = wrong(path, "sunday")
    assert (unknown.gathering, unknown.what) == ("sunday", "there is no such gathering")


async def test_the_file_of_a_server_and_what_a_crash_leaves(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        heads: dict[str, bytes] = {}
        appends: list[Append] = []
        for n in range(1, 40):
            for name in ("a", "b", "c"):
                append = an_append(name, n, snapshot=not n % 7)
                head = head_after(heads.get(name, b""), append)
                heads[name] = head
                if append.snapshot is not None:
                    digest = state_digest(head, append.snapshot.state)
                    append = replace(append, snapshot=evolve(append.snapshot, digest=digest))
                appends.append(replace(append, head=head))
        half = len(appends) // 2
        for append in appends[:half]:
            await store.append(append)
        assert len(look(path).proven) == 3
        # One gathering is in the tables and still in the journal; all others are only in the
        # journal.
        store._writer.piece = 1
        await fold_a_piece(store)
        report = look(path)
        assert report.wrong == []
        for append in appends[half:]:
            await store.append(append)
        report = look(path)
        assert report.wrong == []
        assert {one.gathering: one.head for one in report.proven} == {
            name: head.hex() for name, head in heads.items()
        }
        assert report.ops == len(appends)
        crashed = crashed_copy(path)
    before = crashed.read_bytes(), beside(crashed, "-wal").read_bytes()
    assert look(crashed).wrong == []
    assert (crashed.read_bytes(), beside(crashed, "-wal").read_bytes()) == before
    assert len(look(path).proven) == 3


async def test_a_journal_that_is_not_the_log(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    append = an_append("a", 1, 2)
    append = replace(append, head=head_after(b"", append))

    def journal(*appends: Append) -> list[Wrong]:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DELETE FROM journal")
            for one in appends:
                database.execute("INSERT INTO journal (entry) VALUES (?)", (encode_entry([one]),))
        return wrong(path)

    async with open_sqlite_store(path) as store:
        await store.append(append)
    assert journal(append) == []
    # The journal's append may be in the tables already.
    changed = replace(append, ops=in_epoch(append, "another").ops)
    [one] = journal(changed)
    assert (one.seq, one.what) == (2, "the journal and the log have different ops")
    [one] = journal(replace(append, head=b"x" * 32))
    assert one.seq == 2
    later = an_append("a", 3)
    [one] = journal(later)
    assert (one.seq, one.what) == (3, "an append in the journal has another head")
    later = replace(later, head=head_after(head_of(append), later))
    assert journal(append, later) == []
    [one] = journal(append, replace(later, first_seq=4))
    assert (one.seq, one.what) == (3, "the journal goes on with op 4")
    state = Snapshot(3, b"{}", b"?")
    [one] = journal(append, replace(later, snapshot=state))
    assert one.what == "the snapshot of op 3 isn't the state that was committed"


async def test_progress_may_give_up(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    append = an_append("a", 1, 2500)
    async with open_sqlite_store(path) as store:
        await store.append(replace(append, head=head_after(b"", append)))
    told: list[tuple[int, int]] = []
    report = verify(path, (), lambda done, of: told.append((done, of)))
    assert (report.wrong, told) == ([], [(1000, 2500), (2000, 2500)])

    def give_up(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(path, (), give_up)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"not a database at all" * 99), "not a database"),
        (lambda path: sqlite(path, "CREATE TABLE other (a)"), "another program's"),
        (lambda path: sqlite(path, read("schema4.sql")), "schema version 4"),
    ],
    ids=["absent", "empty", "text", "foreign", "older"],
)
def test_what_is_no_store_of_ours(
    tmp_path: Path, make: Callable[[Path], object], error: str
) -> None:
    path = tmp_path / "rooms.sqlite3"
    make(path)
    with pytest.raises((StoreUnusable, StoreUnavailable), match=error):
        look(path)


def sqlite(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


def read(name: str) -> str:
    return Path(__file__).with_name(name).read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_nobody_may_write(tmp_path: Path) -> None:
    path = trio.run(partial(live, tmp_path / "rooms.sqlite3", fold=True))
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert wrong(path) == []
    finally:
        tmp_path.chmod(0o700)
