"""A process that is killed: what it has acknowledged is there, whole, and nothing else is."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._values.log import LoggedOp, SyncRecord
from tests.forked import forked
from tests.stores.appender import GATHERINGS, count_of
from tests.stores.appends import an_append

APPENDER = "import runpy; runpy.run_module('tests.stores.appender', run_name='__main__')"


def live(path: Path, journal_bytes: int, lines: int) -> dict[str, int]:
    """Let it append until it has acknowledged this much; kill it; return what it acknowledged."""
    acknowledged: dict[str, int] = {}
    with forked(str(path), str(journal_bytes), code=APPENDER) as process:
        for number, line in enumerate(process.stdout, start=1):
            if number == lines:
                process.kill()
            gathering, head = line.split()
            acknowledged[gathering] = int(head)
    assert process.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.parametrize("journal_bytes", [0, 2000, 50_000])
async def test_what_was_acknowledged_outlasts_a_kill(tmp_path: Path, journal_bytes: int) -> None:
    path = tmp_path / "rooms.sqlite3"
    acknowledged = dict.fromkeys(GATHERINGS, 0)
    for lines in (7, 300):
        acknowledged.update(live(path, journal_bytes, lines))
        async with open_sqlite_store(path) as store:
            for gathering, least in acknowledged.items():
                restored = await store.load(gathering, recent_syncs=10**6)
                # The last one may have been under way.
                assert least <= restored.seq <= least + 3
                ops = await store.read(gathering, after=0, up_to=restored.seq, max_bytes=10**9)
                expected: list[LoggedOp] = []
                syncs: list[SyncRecord] = []
                while len(expected) < restored.seq:
                    first = len(expected) + 1
                    append = an_append(gathering, first, count_of(first))
                    expected += append.ops
                    syncs += append.syncs
                assert ops == tuple(expected)
                assert restored.recent == tuple(syncs)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT count(*) FROM refused").fetchone() == (0,)
