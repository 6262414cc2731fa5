"""What the search has found: inputs that led to errors which aren't documented."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable, StoreUnusable
from tests.stores.appends import an_append


@pytest.mark.parametrize("version", [-1, -(2**31)])
async def test_a_schema_version_below_zero_is_not_known(version: int, tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreUnusable, match=f"has schema version {version}"):
        async with open_sqlite_store(path):
            pass


async def test_what_is_wrong_with_a_file_need_not_be_text(tmp_path: Path) -> None:
    """SQLite's error quotes a part of the file, which Python's module can't decode."""
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
    content = path.read_bytes()
    assert content.count(b") STRICT, WITHOUT") > 1
    path.write_bytes(content.replace(b") STRICT, WITHOUT", b") S\xceRICT, WITHOUT"))
    with pytest.raises(StoreUnavailable, match="can't decode"):
        async with open_sqlite_store(path):
            pass


async def a_file_with_holes(path: Path, table: str, column: str) -> None:
    """Make a file that has NULL where a value must be."""
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1, 2, snapshot=True))
        await store.append(an_append("b", 1, 2))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '')")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        which = "WHERE id = 'b'" if table == "gatherings" else ""
        database.execute(f"UPDATE {table} SET {column} = NULL {which}")


@pytest.mark.parametrize(("table", "column"), [("ops", "op"), ("gatherings", "head")])
async def test_a_value_that_is_missing_is_a_store_that_cannot_now(
    table: str, column: str, tmp_path: Path
) -> None:
    """A `TypeError` came out of the task that commits, and ended the hall."""
    path = tmp_path / "rooms.sqlite3"
    await a_file_with_holes(path, table, column)
    async with open_sqlite_store(path) as store:
        refused = 0
        for number in range(3):
            for attempt in (
                partial(store.load, "b", recent_syncs=9),
                partial(store.read, "b", after=0, up_to=2, max_bytes=999),
                partial(store.append, an_append("b", 3)),
                partial(store.append, an_append("b", 1, 2, "another")),
            ):
                try:
                    await attempt()
                except StoreUnavailable as error:
                    refused += "damaged" in str(error)
                except StoreConflict:
                    pass
            assert refused > number


HOLES = """
gatherings.id gatherings.head gatherings.before ops.op ops.time syncs.fingerprint epochs.epoch
snapshots.state
"""


@pytest.mark.parametrize("hole", HOLES.split())
async def test_a_verification_finds_values_that_are_missing(hole: str, tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    await a_file_with_holes(path, *hole.split("."))
    report = verify(path, (), lambda *_: None)
    tables = "isn't as it was made"
    assert [one for one in report.wrong if tables not in one.what]
