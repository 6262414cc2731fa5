"""What the search has found, each as it was: an error that isn't documented came out."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
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
    """SQLite repeats a part of the file, which Python's module can't decode."""
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
    content = path.read_bytes()
    assert content.count(b") STRICT, WITHOUT") > 1
    path.write_bytes(content.replace(b") STRICT, WITHOUT", b") S\xceRICT, WITHOUT"))
    with pytest.raises(StoreUnavailable, match="can't decode"):
        async with open_sqlite_store(path):
            pass
