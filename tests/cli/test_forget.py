"""`forget`: whole gatherings go, and nothing else."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from squire_gatherings._stores import open_sqlite_store
from tests.cli.test_cli import run
from tests.stores.appends import an_append, crashed_copy

NAMES = ("load-1-0", "load-1-1", "load-2-0", "friday-night", "LOAD-1-0")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A file as a server leaves it that was killed: some is in its journal."""
    path = tmp_path / "rooms.sqlite3"

    async def fill() -> None:
        for first in (1, 4):
            async with open_sqlite_store(path) as store:
                for name in NAMES:
                    await store.append(an_append(name, first, 3, snapshot=True))
                if first == 4:
                    crashed_copy(path)

    trio.run(fill)
    return tmp_path / "crashed-rooms.sqlite3"


def rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as database:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("gatherings", "ops", "epochs", "syncs", "snapshots", "journal")
        }


def test_gatherings_that_match_are_gone_for_good(store: Path, tmp_path: Path) -> None:
    code, out, err = run("forget", str(store), "load-[12]-*", "--yes", "--json", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"forgotten": ["load-1-0", "load-1-1", "load-2-0"]}
    left = {"gatherings": 2, "ops": 12, "epochs": 6, "syncs": 4, "snapshots": 2, "journal": 0}
    assert rows(store) == left

    async def look() -> None:
        async with open_sqlite_store(store) as opened:
            assert (await opened.load("friday-night", recent_syncs=9)).seq == 6
            assert (await opened.load("load-1-0", recent_syncs=9)).seq == 0
            # Its id begins anew, with the same sync ids.
            await opened.append(an_append("load-1-0", 1))

    trio.run(look)


def test_gatherings_that_do_not_match_stay(store: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{store}"
    code, out, err = run("forget", url, "friday", "--yes", cwd=tmp_path)
    assert (code, out, err) == (0, "forgot 0 gatherings\n", "")
    assert run("forget", url, "\udcff", "--yes", cwd=tmp_path)[::2] == (0, "")
    assert rows(store)["gatherings"] == 5


def test_errors_are_one_line(store: Path, tmp_path: Path) -> None:
    async def hold() -> tuple[int, str, str]:
        async with open_sqlite_store(store):
            return await trio.to_thread.run_sync(
                lambda: run("forget", str(store), "*", "--yes", cwd=tmp_path)
            )

    (tmp_path / "empty").touch()
    for (code, out, err), complaint in (
        (trio.run(hold), "in use by process"),
        (run("forget", str(store), "*", cwd=tmp_path), "add --yes"),
        (run("forget", "missing", "*", "--yes", cwd=tmp_path), "missing: no such file"),
        (run("forget", "empty", "*", "--yes", cwd=tmp_path), "empty: the file is empty"),
        (run("forget", "memory:", "*", "--yes", cwd=tmp_path), "not 'memory'"),
    ):
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert complaint in err
    assert rows(store)["gatherings"] == 5
