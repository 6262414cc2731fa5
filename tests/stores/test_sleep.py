"""What the stores remember of gatherings that sleep: through ends, kills and older files."""

import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from subprocess import PIPE, Popen

import msgspec
import pytest
import trio

from squire_gatherings._hall.parts import observer_of
from squire_gatherings._hall.sleep_store import SleepStore
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._stores.sqlite.store import open_sqlite_store
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.messages import Dispersed, Joined
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.sleep import shifted
from tests.postgres import Postgres
from tests.stores.appends import a_sleeper
from tests.stores.chained import Chain
from tests.support import Recorder

ROOM = "friday"


@asynccontextmanager
async def a_store(kind: str, tmp_path: Path, postgres: Postgres) -> AsyncIterator[SleepStore]:
    if kind == "memory":
        yield MemoryStore()
    elif kind == "postgres":
        async with open_postgres_store(postgres.new_url()) as database:
            await database.load("friday", recent_syncs=0)
            await database.load("saturday", recent_syncs=0)
            yield database
    else:
        async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
            yield store


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_a_store_remembers_who_sleeps(kind: str, tmp_path: Path, postgres: Postgres) -> None:
    async with a_store(kind, tmp_path, postgres) as store:
        assert isinstance(store, SleepStore)
        assert await store.sleeping() == ()
        one, other = a_sleeper(), a_sleeper("bb", gathering="saturday")
        await store.write_sleep(asleep=[one, other], awake=[])
        assert await store.sleeping() == (one, other)
        later = msgspec.structs.replace(one, state=shifted(one.state, 5.0))
        await store.write_sleep(asleep=[later], awake=["bb", "nobody's"])
        await store.write_sleep(asleep=[later], awake=[])
        assert await store.sleeping() == (later,)
        await store.write_sleep(asleep=[], awake=["aa"])
        assert await store.sleeping() == ()


async def test_a_row_is_of_no_use_that_is_older_than_the_log(tmp_path: Path) -> None:
    """As after a loss of power that has undone a waking."""
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        friday = Chain(ROOM)
        await store.append(friday.append(3))
        one = a_sleeper(seq=3)
        await store.write_sleep(asleep=[one, a_sleeper("bb", seq=2, gathering="gone")], awake=[])
        assert await store.sleeping() == (one,)
        await store.append(friday.append(1))
        assert await store.sleeping() == ()


async def test_a_row_is_of_no_use_whose_log_was_replaced_by_one_as_long(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        chain = Chain(ROOM)
        await store.append(chain.append(3, snapshot=True))
        one = a_sleeper(seq=3)
        one = msgspec.structs.replace(
            one, state=msgspec.structs.replace(one.state, mark=int.from_bytes(chain.head[:4]))
        )
        await store.write_sleep(asleep=[one], awake=[])
        assert await store.sleeping() == (one,)
        await store.compact(ROOM, up_to=3, state=None)
        assert await store.sleeping() == (one,)
        assert await store.delete(ROOM, time=1)
        # What it says of people is gone, too.
        with closing(sqlite3.connect(tmp_path / "rooms.sqlite3")) as database:
            assert database.execute("SELECT count(*) FROM sleepers").fetchone() == (0,)
        await store.write_sleep(asleep=[one], awake=[])
        assert await store.sleeping() == ()
        other = Chain(ROOM, head=chain.head)
        await store.append(other.append(3))
        assert await store.sleeping() == ()


async def test_its_end_forgets_it_with_the_event(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        await store.write_sleep(asleep=[a_sleeper(), a_sleeper("bb", gathering="b")], awake=[])
        event = LifecycleEvent(1, "aa-4", ROOM, "aa", EventKind.DISPERSED, 9, {"reason": "idle"})
        await store.write_events([event])
        assert [one.state.incarnation for one in await store.sleeping()] == ["bb"]


async def test_a_file_of_schema_6_migrates_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema6.sql").read_text())
        assert old.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    async with open_sqlite_store(path) as store:
        assert (await store.load(ROOM, recent_syncs=9)).seq == 5
        left = await store.begin_events()
        assert [one.opened.incarnation for one in left.open] == ["aa"]
        assert await store.sleeping() == ()
        await store.write_sleep(asleep=[a_sleeper(seq=5)], awake=[])
        assert len(await store.sleeping()) == 1
    assert not verify(path, (), lambda _, __: None).wrong


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sleepers SET state = x'00'",
        "UPDATE sleepers SET digest = x'00'",
        "UPDATE sleepers SET incarnation = 'other'",
        "UPDATE sleepers SET gathering = 'other'",
    ],
)
async def test_a_row_that_was_changed_is_found(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.write_sleep(asleep=[a_sleeper()], awake=[])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    [wrong] = verify(path, (), lambda _, __: None).wrong
    assert "sleepers" in str(wrong)


async def test_a_broken_row_keeps_no_hall_from_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.write_sleep(asleep=[a_sleeper()], awake=[])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE sleepers SET state = x'00'")
    async with open_hall(store=f"sqlite:///{path}") as hall:
        assert hall.gatherings() == ()
    assert "a gathering that slept is lost" in caplog.messages


SLEEPS = """
import sys, time, trio
from squire_gatherings import open_hall
async def main():
    async with open_hall(store=sys.argv[1], idle_timeout=3600.0) as hall:
        await hall.submit("friday", [{"n": 1}])
        await hall.submit("friday", [{"n": 2}])
        await hall.evict("friday")
        explained = hall.explain("friday")
        while not await hall._registry.store.sleeping():
            await trio.sleep(0.01)
        print(explained.incarnation, explained.wall_now + explained.left, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def one_that_was_killed(url: str) -> tuple[str, str]:
    """Have a gathering sleep in a process that is killed; return its incarnation and its end."""
    with Popen([sys.executable, "-c", SLEEPS, url], stdout=PIPE) as process:
        assert process.stdout is not None
        incarnation, ends_at = process.stdout.readline().decode().split()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return incarnation, ends_at


async def test_one_that_slept_outlasts_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rooms.sqlite3'}"
    incarnation, ends_at = one_that_was_killed(url)
    # It is almost time.
    began = trio.current_time()

    def wall_clock() -> float:
        return float(ends_at) - 0.2 + trio.current_time() - began

    client = Recorder()
    with trio.fail_after(30):
        async with open_hall(store=url, wall_clock=wall_clock) as hall:
            seen = observer_of(hall).gathering(ROOM)
            assert seen is not None
            assert seen.stage is Stage.ASLEEP
            assert seen.numbers.incarnation == incarnation
            await hall.join(ROOM, client, since=2, epoch=incarnation, resume=incarnation)
            [joined] = client.of(Joined)
            assert (joined.incarnation, joined.seq) == (incarnation, 2)
            await client.wait_closed()
            assert client.of(Dispersed)[0].incarnation == incarnation
            assert client.closed[0][1:] == (CloseCode.DISPERSED, "idle")
            [ended] = observer_of(hall).endings(10)
            assert ended.lateness is not None
            assert ended.lifetime >= 3600.0 - 1e-6
        async with open_hall(store=url) as hall:
            assert hall.gatherings() == ()
