"""Every store keeps lifecycle events until they are forgotten, and knows who is open."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._stores import MemoryStore, open_sqlite_store
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.errors import BadSetting, StoreUnavailable
from squire_gatherings._values.events import EventKind, EventsLeft, OpenIncarnation
from tests.stores.appends import all_of, an_append, an_event, crashed_copy
from tests.stores.chained import Chain

OPENED, DISPERSED = EventKind.OPENED, EventKind.DISPERSED


@pytest.fixture(params=["memory:", "sqlite", "postgres"])
async def store(request: Any, tmp_path: Path) -> AsyncIterator[EventStore]:
    if request.param == "memory:":
        yield MemoryStore()
    elif request.param == "postgres":
        async with open_postgres_store(request.getfixturevalue("postgres").new_url()) as database:
            yield database
    else:
        async with open_sqlite_store(tmp_path / "rooms.sqlite3") as opened:
            yield opened


async def all_events(store: EventStore) -> list[int]:
    return [event.number for event in await store.read_events(after=0, up_to=10**9, limit=10**9)]


async def test_events_are_read_back_until_they_are_forgotten(store: EventStore) -> None:
    assert await store.begin_events() == EventsLeft(0, 0, ())
    events = [an_event(1, OPENED), an_event(2), an_event(3, DISPERSED), an_event(4, OPENED, "b")]
    await store.write_events(events[:3])
    await store.write_events(events[3:])
    assert await store.read_events(after=0, up_to=9, limit=9) == tuple(events)
    assert await store.read_events(after=1, up_to=3, limit=9) == tuple(events[1:3])
    assert await store.read_events(after=1, up_to=9, limit=1) == (events[1],)
    await store.forget_events(up_to=2)
    assert await all_events(store) == [3, 4]
    await store.forget_events(up_to=2)
    await store.forget_events(up_to=4)
    assert await all_events(store) == []
    store.end_events()
    left = await store.begin_events()
    # Also what was forgotten has had its number, and has opened.
    assert (left.last, left.waiting) == (4, 0)
    assert [one.opened for one in left.open] == [events[3]]


async def test_the_same_events_again_count_once(store: EventStore) -> None:
    await store.begin_events()
    await store.write_events([an_event(1, OPENED), an_event(2, DISPERSED)])
    await store.write_events([an_event(1, OPENED), an_event(2, DISPERSED), an_event(3, OPENED)])
    assert await all_events(store) == [1, 2, 3]
    store.end_events()
    left = await store.begin_events()
    assert (left.last, left.waiting, len(left.open)) == (3, 3, 1)


async def test_the_incarnations_left_open_come_in_their_order(store: EventStore) -> None:
    await store.begin_events()
    events = [an_event(n, OPENED, name) for n, name in enumerate("edcba", start=1)]
    await store.write_events(events)
    await store.write_events([an_event(6, DISPERSED, "c")])
    store.end_events()
    left = await store.begin_events()
    assert [one.opened.gathering for one in left.open] == ["e", "d", "b", "a"]


async def test_one_hall_at_a_time_has_the_events(store: EventStore) -> None:
    await store.begin_events()
    with pytest.raises(BadSetting, match="another hall"):
        await store.begin_events()
    store.end_events()
    await store.begin_events()


async def test_a_call_that_was_cancelled_before_it_began_does_nothing(store: EventStore) -> None:
    calls: list[Callable[[], Any]] = [
        store.begin_events,
        lambda: store.write_events([an_event(1, OPENED)]),
        lambda: store.read_events(after=0, up_to=1, limit=1),
        lambda: store.forget_events(up_to=9),
    ]
    for call in calls:
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    assert await store.begin_events() == EventsLeft(0, 0, ())


async def test_a_crash_leaves_what_was_written_and_who_was_open(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.begin_events()
        await store.append(an_append("a", 1, 3))
        await store.write_events([an_event(1, OPENED), an_event(2, OPENED, "new")])
        await store.forget_events(up_to=1)
        copy = crashed_copy(path)
    async with open_sqlite_store(copy) as store:
        left = await store.begin_events()
        # The journal's ops count, too.
        assert left == EventsLeft(
            2,
            1,
            (
                OpenIncarnation(an_event(1, OPENED), 3),
                OpenIncarnation(an_event(2, OPENED, "new"), 0),
            ),
        )


async def test_events_are_written_while_appends_never_pause(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
        is_over = False

        async def keep_appending(gathering: str) -> None:
            first = 1
            while not is_over:
                await store.append(an_append(gathering, first))
                first += 1

        async with trio.open_nursery() as nursery:
            for gathering in "abcdef":
                nursery.start_soon(keep_appending, gathering)
            with trio.fail_after(30):
                for number in range(1, 30):
                    await store.write_events([an_event(number)])
            is_over = True
        assert len(await all_events(store)) == 29


async def test_a_file_of_schema_5_migrates_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema5.sql").read_text())
        assert old.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    other = tmp_path / "other.sqlite3"
    async with open_sqlite_store(path) as store, open_sqlite_store(other) as expected:
        friday = Chain("friday")
        await expected.append(friday.append(3, snapshot=True))
        await expected.append(friday.append(2, later=5))
        assert await all_of(store, "friday") == await all_of(expected, "friday")
        gone = await store.describe("gone")
        assert gone is not None
        assert gone.tombstone is not None
        assert await store.begin_events() == EventsLeft(0, 0, ())
        await store.write_events([an_event(1, OPENED)])
        assert await all_events(store) == [1]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE events SET event = x'7b7d' WHERE number = 1", "events 1"),
        ("UPDATE events SET number = 7 WHERE number = 1", "events 7"),
        ("UPDATE events SET digest = x'00'", "events 1"),
        ("UPDATE incarnations SET id = 'other'", "incarnations 'other'"),
        ("UPDATE incarnations SET event = x'7b7d'", "incarnations 'aa'"),
    ],
)
async def test_events_that_were_changed_are_found(
    tmp_path: Path, statement: str, found: str
) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.begin_events()
        await store.write_events([an_event(1, OPENED)])
    assert verify(path, (), lambda _, __: None).wrong == []
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    wrong = verify(path, (), lambda _, __: None).wrong
    assert any(found in one.what for one in wrong), wrong


async def test_events_that_were_changed_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    async with open_sqlite_store(path) as store:
        await store.begin_events()
        await store.write_events([an_event(1, OPENED)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE events SET event = x'7b7d'")
        database.execute("UPDATE incarnations SET event = x'7b7d'")
    async with open_sqlite_store(path) as store:
        with pytest.raises(StoreUnavailable, match="damaged"):
            await store.read_events(after=0, up_to=9, limit=9)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="damaged"):
                await store.begin_events()
