"""After each crash: what was acknowledged is there, once, in order, whole, and nothing else.

`make test` looks at some hundred crashes. `make test-long` looks at all combinations of writes that
are there or not (of up to eight, and some of more), each write torn at each of its sectors, and at
crashes of the store that was opened after a crash.
"""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import pytest

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.sqlite.connection import empty_wal
from squire_gatherings._values.errors import StoreUnavailable
from tests.filesystem.disk import Disk, Passing
from tests.filesystem.lives import (
    LIVES,
    Expected,
    Files,
    Life,
    acknowledged_too_early,
    appends_of,
    prepared,
    recorded,
    synchronous,
)
from tests.filesystem.survivors import Survivors
from tests.filesystem.vfs import NoLibrary, watched
from tests.stores.appends import an_append, beside
from tests.support import examples

EACH = 6
"""The number of outcomes of each crash that `make test` looks at."""
EXHAUSTIVE = 256
"""Up to this number of combinations, `make test-long` looks at all of them."""
IS_LONG = examples(1) > 1


@pytest.fixture(scope="module", autouse=True)
def _sees_what_sqlite_does() -> None:
    try:
        with watched(Passing()):
            pass
    except NoLibrary as why:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{why}: crashes of the machine aren't tested here")


def lived(folder: Path, life: Life) -> tuple[Disk, Expected]:
    deeds = life.deeds()
    there = prepared(folder, life)
    expected = (
        Expected.of(deeds) if life.schema is None else Expected.from_file(folder, life, there)
    )
    return recorded(folder, life, there, deeds), expected


@pytest.mark.parametrize("life", LIVES, ids=[life.name for life in LIVES])
def test_a_crash_loses_nothing_that_was_acknowledged(life: Life, tmp_path: Path) -> None:
    disk, expected = lived(tmp_path, life)
    survivors = Survivors(tmp_path, life, expected)
    if IS_LONG:
        survivors.look(disk, seed=1, most=200, all_of=EXHAUSTIVE)
    else:
        survivors.look(disk, seed=1, most=EACH)
    assert survivors.found == []
    assert survivors.looked_at > 2 * len(life.steps)
    print(f"{life.name}: {survivors.looked_at} crashes")


@pytest.mark.parametrize("seed", range(examples(2)))
def test_a_crash_after_a_crash(seed: int, tmp_path: Path) -> None:
    """The second crash may come while the store still repairs the first."""
    chance = random.Random(seed)
    life = chance.choice([one for one in LIVES if one.schema is None and not one.acts])
    appends = appends_of(2 * life.count)
    disk = recorded(tmp_path, life, prepared(tmp_path, life), appends)
    crash = chance.choice(disk.crashes)
    [*_, choices] = crash.some(chance, 20)
    left: Files = {Path(path).name: data for path, data in crash.after(choices).items()}
    expected = Expected.of(appends)
    survivors = Survivors(tmp_path, life, expected)
    has = survivors.count(crash, left)
    assert has is not None, survivors.found
    again = recorded(tmp_path, life, left, appends, has=has)
    survivors.look(again, seed=seed, most=EACH)
    assert survivors.found == []


FAULTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "nothing is flushed": partial(synchronous, "OFF"),
    "commits aren't flushed": partial(synchronous, "NORMAL"),
    "acknowledged before the commit": acknowledged_too_early,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_loses_something_is_found_out(fault: str, tmp_path: Path) -> None:
    life = Life("commits", before=2, steps=(1, 1))
    appends = appends_of(life.count)
    there = prepared(tmp_path, life)
    with FAULTS[fault]():
        disk = recorded(tmp_path, life, there, appends)
    survivors = Survivors(tmp_path, life, Expected.of(appends))
    survivors.look(disk, seed=1, most=EACH)
    assert any("acknowledged" in one for one in survivors.found)


@pytest.mark.parametrize("head", [bytes(32), b"garbage" * 5, bytes(9000)])
async def test_a_write_ahead_log_whose_content_was_lost_is_an_empty_one(
    head: bytes, tmp_path: Path
) -> None:
    """The store took it for a log that somebody had overwritten, and couldn't open the file."""
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
    beside(path, "-wal").write_bytes(head)
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 2))
        assert (await store.load("a", recent_syncs=1)).seq == 2
        # Now the log has a head, which no other program may overwrite.
        with beside(path, "-wal").open("r+b") as wal:
            wal.write(head)
        with pytest.raises(StoreUnavailable, match="write-ahead log was overwritten"):
            await store.append(an_append("a", 3))


async def test_a_change_to_wal_mode_may_be_half_undone(tmp_path: Path) -> None:
    """SQLite finds a write-ahead log, but no WAL mode: the store took the file for another one."""
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.append(an_append("a", 1))
        head = beside(path, "-wal").read_bytes()[:32]
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    beside(path, "-wal").write_bytes(head)
    for last, mode in ((2, b"\1\1"), (3, b"\2\2")):
        async with open_sqlite_store(path) as store:
            for _ in range(2):
                assert path.read_bytes()[18:20] == mode
                assert (await store.load("a", recent_syncs=1)).seq == last - 1
                await store._write_connection.call(empty_wal)
            await store.append(an_append("a", last))
