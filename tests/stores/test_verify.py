"""The verification: whatever byte was changed in a file, it says so."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from squire_gatherings import Identity, open_hall
from squire_gatherings._rules.chain import tombstone_digest
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._stores.sqlite.verify import Report, Wrong, verify
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from tests.stores.appends import crashed_copy
from tests.support import Sum

TABLES = ("gatherings", "ops", "epochs", "syncs", "snapshots", "tombstones")


def look(path: Path, *gatherings: str) -> Report:
    return verify(path, gatherings, lambda _, __: None)


def wrong(path: Path, *gatherings: str) -> list[Wrong]:
    return look(path, *gatherings).wrong


class Clock:
    """A time of day that also goes back."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times: Iterator[float] = iter(times)

    def __call__(self) -> float:
        return next(self.times)


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
        with closing(sqlite3.connect(path)) as database, database:
            # Not what anything here makes yet.
            said = ("gone", 7, b"h" * 32, 99)
            row = (*said, tombstone_digest(*said))
            database.execute("INSERT INTO tombstones VALUES (?, ?, ?, ?, ?)", row)
        return path if fold else crashed_copy(path)


async def fold_all(store: SqliteStore) -> None:
    await store._write_connection.call(store._writer.fold)


def contents(path: Path) -> object:
    """Return all that SQLite reads from the file, as bytes; None if it can't."""
    try:
        with closing(sqlite3.connect(path)) as database:
            database.text_factory = bytes
            found = [database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
            return [*found, database.execute("SELECT entry FROM journal").fetchall()]
    except (sqlite3.Error, UnicodeDecodeError):
        return None


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "with its journal"])
async def test_every_byte_counts(tmp_path: Path, fold: bool) -> None:
    path = await live(tmp_path / "rooms.sqlite3", fold=fold)
    with closing(sqlite3.connect(path)) as database:
        # One file, and as few pages as can be.
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("PRAGMA page_size = 512")
        database.execute("VACUUM")
        assert (database.execute("SELECT count(*) FROM journal").fetchone() == (0,)) == fold
    report = look(path)
    assert report.wrong == []
    assert [(one.gathering, one.seq) for one in report.proven] == [("friday", 6), ("monday", 2)]
    assert report.ops == 8
    before = contents(path)
    data = path.read_bytes()
    changed = missed = 0
    flipped = tmp_path / "flipped.sqlite3"
    for place in range(100, len(data)):
        for mask in (0x01, 0x80, 0xFF) if data[place] else (0x01,):
            one = bytearray(data)
            one[place] ^= mask
            flipped.write_bytes(one)
            if contents(flipped) == before:
                continue
            changed += 1
            try:
                missed += not wrong(flipped)
            except (StoreUnusable, StoreUnavailable):
                # Not even what it is can be read.
                continue
            assert not missed, f"byte {place} ^ {mask:#x}"
    assert changed > 3000
