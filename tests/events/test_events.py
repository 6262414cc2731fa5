"""Lifecycle events: what is told, when, in which order, and what a failure does to it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.event_delivery import LONGEST_PAUSE, PAGE
from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import (
    BadBase,
    BadSetting,
    Full,
    StoreUnavailable,
    Undelivered,
)
from squire_gatherings._values.events import EventKind, EventNumbers, LifecycleEvent
from squire_gatherings._values.messages import Dispersed, Joined, Leave
from squire_gatherings._values.sleep import Slept
from squire_gatherings.testing import open_test_hall
from tests.events.telling import Flaky, Taker, check
from tests.stores.appends import crashed_copy
from tests.support import Fragile, Recorder

ROOM = "friday-night"


async def test_a_whole_life_is_told(autojump_clock: MockClock) -> None:
    taker = Taker()
    wall = 1.7e9 - trio.current_time()
    async with open_hall(
        on_event=taker, idle_timeout=100, wall_clock=lambda: wall + trio.current_time()
    ) as hall:
        began = trio.current_time()
        alice, bob = Recorder(), Recorder()
        first = await hall.join(ROOM, alice)
        second = await hall.join(ROOM, bob)
        await trio.sleep(10)
        await hall.submit(ROOM, [{"n": 1}, {"n": 2}])
        first.detach()
        await trio.sleep(5)
        await second.deliver(Leave())
        await trio.sleep(5)
        third = await hall.join(ROOM, Recorder())
        third.detach()
        await trio.sleep(101)
        opened, joined, empty, again, dispersed = taker.events
        assert [one.number for one in taker.events] == [1, 2, 3, 4, 5]
        assert taker.kinds() == ["opened", "joined_first", "emptied", "emptied", "dispersed"]
        assert len({one.id for one in taker.events}) == 5
        assert {one.gathering for one in taker.events} == {ROOM}
        assert {one.incarnation for one in taker.events} == {alice.of(Joined)[0].incarnation}
        assert [one.time - 1.7e12 for one in (opened, joined, empty, again)] == [0, 0, 15e3, 20e3]
        assert [one.data for one in (opened, joined, empty)] == [{"seq": 0}, {}, {"seq": 2}]
        assert dispersed.data == {
            "reason": "idle",
            "seq": 2,
            "lifetime": 120.0,
            "messages": 5,
            "lateness": 0.0,
        }
        assert taker.times == [began, began, began + 15, began + 20, began + 120]
        assert hall.snapshot().events == EventNumbers(0, 5, 0, None)
    check(taker.events, all_ended=True)


async def test_nobody_is_let_in_before_the_store_knows(autojump_clock: MockClock) -> None:
    class Slow(MemoryStore):
        async def write_events(self, events: Any) -> None:
            await trio.sleep(1)
            await super().write_events(events)

    store, connection = Slow(), Recorder()
    async with open_hall(store=store, on_event=Taker()) as hall:
        began = trio.current_time()
        await hall.join(ROOM, connection)
        # One for `opened`, and one for `joined_first`.
        [(told_at, message)] = connection.received
        assert isinstance(message, Joined)
        assert told_at == began + 2
        # Those who come later wait for nothing.
        later = Recorder()
        await hall.join(ROOM, later)
        assert later.received[0][0] == began + 2


async def test_a_notice_does_not_wait_for_the_store(autojump_clock: MockClock) -> None:
    store, connection, taker = Flaky(), Recorder(), Taker()
    async with open_hall(store=store, on_event=taker, idle_timeout=10) as hall:
        began = trio.current_time()
        await hall.join(ROOM, connection)
        store.writes = False
        await connection.wait_closed()
        [(told_at, message)] = [one for one in connection.received if one[0] > began]
        assert isinstance(message, Dispersed)
        assert told_at == began + 10
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()
        assert taker.kinds() == ["opened", "joined_first"]
        # It isn't opened anew before the store knows of its end.
        with pytest.raises(StoreUnavailable):
            await hall.open(ROOM)
        store.writes = True
        await trio.sleep(1)
        await hall.open(ROOM)
        await wait_all_tasks_blocked()
        assert taker.kinds() == ["opened", "joined_first", "dispersed", "opened"]
    check(taker.events, all_ended=True)


async def test_openings_share_commits() -> None:
    store = Flaky()
    async with (
        open_hall(store=store, on_event=Taker()) as hall,
        trio.open_nursery() as nursery,
    ):
        for number in range(500):
            nursery.start_soon(hall.open, f"g{number}")
    assert sum(store.batches) == 1000
    assert len(store.batches) <= 8, store.batches


@pytest.mark.parametrize("has_it", [True, False], ids=["it has them all the same", "it has none"])
async def test_events_are_kept_while_the_store_is_away(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, has_it: bool
) -> None:
    store, taker = Flaky(), Taker()
    store.has_it_all_the_same = has_it
    async with open_hall(store=store, on_event=taker) as hall:
        member = await hall.join(ROOM, Recorder())
        store.writes = False
        for _ in range(3):
            member.detach()
            with pytest.raises(StoreUnavailable):
                await hall.open("another")
            member = await hall.join(ROOM, Recorder())
            await trio.sleep(5)
        assert taker.kinds() == ["opened", "joined_first"]
        store.writes = True
        await trio.sleep(1)
        another = ["opened", "dispersed"]
        assert taker.kinds(ROOM) == ["opened", "joined_first", "emptied", "emptied", "emptied"]
        assert taker.kinds("another") == another
        assert taker.of("another")[1][1]["reason"] == "lost"
    check(taker.events, all_ended=True)
    said = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(said) == 2, said


async def test_a_first_join_waits_for_nothing_while_the_store_is_away(
    autojump_clock: MockClock,
) -> None:
    store, taker, connection = Flaky(), Taker(), Recorder()
    async with open_hall(store=store, on_event=taker) as hall:
        await hall.open(ROOM)
        store.writes = False
        with pytest.raises(StoreUnavailable):
            await hall.join(ROOM, connection)
        assert connection.received == []
        store.writes = True
        await trio.sleep(1)
        await hall.join(ROOM, connection)
        await wait_all_tasks_blocked()
        assert taker.kinds() == ["opened", "joined_first"]


async def test_a_join_that_is_refused_is_no_first_one() -> None:
    taker = Taker()
    async with open_hall(on_event=taker) as hall:
        await hall.open(ROOM)
        with pytest.raises(BadBase):
            await hall.join(ROOM, Recorder(), since=7)
        await wait_all_tasks_blocked()
        assert taker.kinds() == ["opened"]


async def test_what_fails_is_delivered_again_in_order(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    taker = Taker()
    taker.failures = 12
    async with open_hall(on_event=taker) as hall:
        began = trio.current_time()
        await hall.open("a")
        await hall.open("b")
        numbers = hall.snapshot().events
        await trio.sleep(0.001)
        numbers = hall.snapshot().events
        assert numbers is not None
        assert numbers.failing_since == began
        await trio.sleep(12 * LONGEST_PAUSE)
        assert hall.snapshot().events == EventNumbers(0, 2, 0, None)
        pauses = [b - a for a, b in zip(taker.tries[:12], taker.tries[1:13], strict=True)]
        # They grow, at random, up to a limit.
        assert max(pauses) <= LONGEST_PAUSE
        assert sum(pauses[:3]) <= 3.5 < sum(pauses)
        said = [one for one in caplog.records if one.levelno >= logging.WARNING]
        assert [one.message for one in said] == [
            "events can't be delivered, and wait",
            "events are delivered again",
        ]
        assert said[0].exc_info is not None
    assert taker.kinds() == ["opened", "opened", "dispersed", "dispersed"]
    check(taker.events, all_ended=True)


async def test_a_sink_says_how_long_to_wait(autojump_clock: MockClock) -> None:
    class Sink:
        def __init__(self) -> None:
            self.tries: list[float] = []
            self.sizes: list[int] = []
            self.is_closed = False

        async def deliver(self, events: Any) -> int:
            await trio.lowlevel.checkpoint()
            self.tries.append(trio.current_time())
            if len(self.tries) == 1:
                raise Undelivered("busy", 1234.0)
            self.sizes.append(len(events))
            return min(3, len(events))

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()
            self.is_closed = True

    sink = Sink()
    async with open_hall(on_event=sink) as hall:
        for number in range(5):
            await hall.open(f"g{number}")
        await trio.sleep(2000)
        assert sink.tries[1] == sink.tries[0] + 1234.0
        assert sink.sizes[0] == 1
        # As many as it has taken are forgotten, and no more.
        assert sink.sizes[1:3] == [4, 1]
    assert sink.is_closed


async def test_what_is_left_is_delivered_by_the_next_hall(autojump_clock: MockClock) -> None:
    store, taker = Flaky(), Taker()
    taker.failures = 10**9
    async with open_hall(store=store, on_event=taker) as hall:
        for number in range(2 * PAGE + 7):
            await hall.open(f"g{number}")
        assert hall.snapshot().events is not None
    assert taker.events == []
    taker.failures = 0
    async with open_hall(store=store, on_event=taker) as hall:
        await trio.sleep(1)
        assert len(taker.events) == 2 * (2 * PAGE + 7)
    check(taker.events, all_ended=True)
    # Nothing is told twice without need.
    again = Taker()
    async with open_hall(store=store, on_event=again):
        await trio.sleep(1)
    assert again.events == []


async def test_closing_waits_for_the_last_events_but_not_for_long(
    autojump_clock: MockClock,
) -> None:
    class Slow(Taker):
        async def __call__(self, event: LifecycleEvent) -> None:
            await trio.sleep(2)
            await super().__call__(event)

    store, slow = MemoryStore(), Slow()
    began = trio.current_time()
    async with open_hall(store=store, on_event=slow, close_grace=5) as hall:
        await hall.open(ROOM)
    assert slow.kinds() == ["opened", "dispersed"]
    assert trio.current_time() == began + 4
    began = trio.current_time()
    async with open_hall(store=store, on_event=slow, close_grace=5) as hall:
        for number in range(9):
            await hall.open(f"g{number}")
    assert trio.current_time() == began + 5.25
    taken, rest = len(slow.events), Taker()
    assert taken == 4
    async with open_hall(store=store, on_event=rest):
        await trio.sleep(1)
    check(slow.events + rest.events, all_ended=True)


async def test_a_sink_that_fails_holds_no_closing_up(autojump_clock: MockClock) -> None:
    taker = Taker()
    taker.failures = 10**9
    async with open_hall(on_event=taker) as hall:
        await hall.open(ROOM)
        await trio.sleep(100)
        before = trio.current_time()
        tries = len(taker.tries)
    assert trio.current_time() == before
    assert len(taker.tries) == tries + 1


async def test_a_cancelled_hall_tells_its_ends(autojump_clock: MockClock) -> None:
    taker, connection = Taker(), Recorder()
    with trio.CancelScope() as scope:
        async with open_hall(on_event=taker) as hall:
            await hall.join(ROOM, connection)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert taker.kinds() == ["opened", "joined_first", "dispersed"]
    assert taker.events[-1].data["reason"] == "shutdown"
    assert connection.of(Dispersed)


async def test_a_sink_that_hangs_is_cancelled_with_the_hall(autojump_clock: MockClock) -> None:
    cancelled = []

    async def hang(event: LifecycleEvent) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    store, began = MemoryStore(), trio.current_time()
    with trio.move_on_after(3):
        async with open_hall(store=store, on_event=hang, close_grace=5) as hall:
            await hall.open(ROOM)
            await trio.sleep_forever()
    assert cancelled == [began + 3 + 5.25]
    taker = Taker()
    async with open_hall(store=store, on_event=taker):
        await trio.sleep(1)
    assert taker.kinds() == ["opened", "dispersed"]


async def test_an_opening_that_is_cancelled_has_its_end(autojump_clock: MockClock) -> None:
    class Slow(MemoryStore):
        async def write_events(self, events: Any) -> None:
            await trio.sleep(1)
            await super().write_events(events)

    taker = Taker()
    async with open_hall(store=Slow(), on_event=taker) as hall:
        with trio.move_on_after(0.5) as scope:
            await hall.open(ROOM)
        assert scope.cancelled_caught
        await hall.open(ROOM)
        await trio.sleep(3)
        assert taker.kinds() == ["opened", "dispersed", "opened"]
        assert taker.events[1].data["reason"] == "lost"
    check(taker.events, all_ended=True)


async def test_what_a_crash_left_open_is_told_before_it_opens_anew(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    taker, later = Taker(), Taker()
    async with (
        open_sqlite_store(path) as store,
        open_hall(store=store, on_event=taker, wall_clock=lambda: 1.7e9) as hall,
    ):
        await hall.join("a", Recorder())
        await hall.submit("a", [{"n": 1}])
        await hall.open("b")
        await hall.open("c")
        await hall.disperse("c")
        # What is queued is in the store when the next opening is.
        await hall.open("d")
        copy = crashed_copy(path)
    async with open_sqlite_store(copy) as store, open_hall(store=store, on_event=later) as hall:
        await hall.open("b")
    told = check([*taker.events[:6], *later.events], all_ended=True)
    ends = [one for one in later.events if one.data.get("reason") == "lost"]
    assert [(one.gathering, one.data["seq"]) for one in ends] == [("a", 1), ("b", 0), ("d", 0)]
    assert ends[0].data == {
        "reason": "lost",
        "seq": 1,
        "opened_at": 1.7e12,
        "lifetime": None,
        "lateness": None,
        "messages": None,
    }
    assert later.kinds("b")[-3:] == ["dispersed", "opened", "dispersed"]
    assert len(told) == 5


async def test_a_crash_of_a_gathering_is_told() -> None:
    taker = Taker()
    async with open_hall(on_event=taker, behaviour=Fragile) as hall:
        with pytest.raises(Exception, match="crashed"):
            await hall.submit(ROOM, [{"boom": 1}])
        await hall.open(ROOM)
        await wait_all_tasks_blocked()
        assert taker.kinds() == ["opened", "dispersed", "opened"]
        assert taker.events[1].data["reason"] == "crashed"
        assert taker.events[1].data["lateness"] is None


async def test_with_too_many_events_nothing_is_opened(autojump_clock: MockClock) -> None:
    taker = Taker()
    taker.failures = 10**9
    async with open_hall(on_event=taker, max_events=12) as hall:
        for number in range(4):
            await hall.open(f"g{number}")
        with pytest.raises(Full, match="events wait"):
            await hall.open("another")
        # Those that are open have places for all that must be told of them.
        for _ in range(10):
            member = await hall.join("g0", Recorder())
            member.detach()
        await hall.disperse("g0")
        numbers = hall.snapshot()
        assert numbers.refused["events"] == 1
        assert numbers.events is not None
        assert numbers.events.omitted == 10
        with pytest.raises(Full):
            await hall.open("g0")
        taker.failures = 0
        await trio.sleep(LONGEST_PAUSE)
        await hall.open("g0")
        await wait_all_tasks_blocked()
        last = taker.of("g0")
        assert [kind for kind, _ in last] == ["opened", "joined_first", "dispersed", "opened"]
        assert last[2][1]["omitted"] == 10
    check(taker.events, all_ended=True)


async def test_places_are_given_back(autojump_clock: MockClock) -> None:
    taker = Taker()
    async with open_hall(on_event=taker, max_events=3, idle_timeout=10) as hall:
        for _ in range(20):
            await hall.open(ROOM)
            with pytest.raises(Full):
                await hall.open("another")
            await trio.sleep(11)
        store = hall.store
        assert isinstance(store, EventStore)
        assert await store.read_events(after=0, up_to=10**9, limit=9) == ()


async def test_reading_and_forgetting_may_fail(autojump_clock: MockClock) -> None:
    store, taker = Flaky(), Taker()
    store.reads = store.forgets = False
    async with open_hall(store=store, on_event=taker) as hall:
        await hall.open(ROOM)
        await trio.sleep(5)
        assert taker.events == []
        store.reads = True
        await trio.sleep(LONGEST_PAUSE)
        assert taker.kinds() == ["opened"]
        # What it hasn't forgotten isn't told again by the same hall.
        await hall.open("another")
        await trio.sleep(5)
        assert taker.kinds() == ["opened", "opened"]
        store.forgets = True
        await hall.disperse(ROOM)
        await wait_all_tasks_blocked()
        assert await store.read_events(after=0, up_to=99, limit=9) == ()


async def test_what_can_be_told_to_whom_is_checked() -> None:
    class Plain:
        name = "plain"

        def __getattr__(self, name: str) -> Any:
            if name.endswith("_events"):
                raise AttributeError(name)
            return getattr(MemoryStore(), name)

    with pytest.raises(BadSetting, match="no outbox"):
        async with open_hall(store=Plain(), on_event=Taker()):
            raise AssertionError
    with pytest.raises(BadSetting, match="async function"):
        async with open_hall(on_event="http://localhost/"):  # type: ignore[arg-type]
            raise AssertionError
    store = MemoryStore()
    async with open_hall(store=store, on_event=Taker()):
        with pytest.raises(BadSetting, match="another hall"):
            async with open_hall(store=store, on_event=Taker()):
                raise AssertionError
    async with open_hall(store=store, on_event=Taker()):
        pass


async def test_off_there_is_no_event() -> None:
    store = Flaky()
    async with open_hall(store=store) as hall:
        (await hall.join(ROOM, Recorder())).detach()
        assert hall.snapshot().events is None
        assert hall._registry.living[ROOM].room.life is None
    assert store.batches == []


@pytest.mark.parametrize("is_known", [False, True])
async def test_one_that_slept_has_emptied_when_its_process_ended(
    is_known: bool, autojump_clock: MockClock
) -> None:
    """Also where that was told before, and only the store didn't know yet that it was."""
    taker, store = Taker(), Flaky()
    async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time) as hall:
        member = await hall.join(ROOM, Recorder())
        await hall.open("empty")
        for name in (ROOM, "empty"):
            assert await hall.evict(name)
        await trio.sleep(1)
        before = dict(store._asleep)
        if is_known:
            member.detach()
            await trio.sleep(1)
            assert taker.kinds(ROOM)[-1] == "emptied"
    if is_known:
        store._asleep.update(before)
    for _ in range(2):
        async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time) as hall:
            assert hall.explain(ROOM).clients == 0
            await trio.sleep(1)
    assert taker.kinds("empty") == ["opened"]
    assert taker.kinds(ROOM)[:3] == ["opened", "joined_first", "emptied"]
    told = [event.id for event in taker.events if event.kind is EventKind.EMPTIED]
    assert len(set(told)) == 1
    assert len(told) == 1 + is_known


async def test_however_many_slept_each_has_emptied(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("squire_gatherings._hall.lifecycle.QUEUED", 2)
    taker, store = Taker(), MemoryStore()
    names = [f"room-{number}" for number in range(5)]
    async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time) as hall:
        for name in names:
            await hall.join(name, Recorder())
            assert await hall.evict(name)
    async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time):
        await trio.sleep(1)
    for name in names:
        assert taker.kinds(name) == ["opened", "joined_first", "emptied"]


async def test_the_store_knows_an_event_before_it_knows_that_a_sleeper_has_told_it(
    autojump_clock: MockClock,
) -> None:
    taker, store = Taker(), Flaky()
    async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time) as hall:
        member = await hall.join(ROOM, Recorder())
        assert await hall.evict(ROOM)
        await trio.sleep(1)
        store.writes = False
        member.detach()
        await trio.sleep(5)
        [known] = await store.sleeping()
        assert known.state.emptied_at is None
        store.writes = True
        await trio.sleep(5)
        [known] = await store.sleeping()
        assert known.state.emptied_at is not None
        assert taker.kinds(ROOM)[-1] == "emptied"


class Late(MemoryStore):
    """A store that takes time for events, and notes who slept in it after its end was told."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: set[str] = set()
        self.risen: list[str] = []
        self.writer = trio.Lock()
        """As a writer's thread: what was begun first is done first."""

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        async with self.writer:
            await trio.sleep(1)
            await super().write_events(events)
        self.ended |= {one.incarnation for one in events if one.kind is EventKind.DISPERSED}

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        async with self.writer:
            await trio.sleep(1)
            await super().write_sleep(asleep=asleep, awake=awake)
        self.risen += [one for one in self._asleep if one in self.ended]


@pytest.mark.parametrize("stays", [False, True], ids=["at once", "with a slow reader"])
@pytest.mark.parametrize("after", [0.0, 0.3, 0.9, 1.1, 2.1])
async def test_a_sleeper_whose_end_is_told_sleeps_no_more(
    after: float, stays: bool, autojump_clock: MockClock
) -> None:
    """Otherwise a process that is opened after a kill goes on with it, and tells its end again."""
    taker, store = Taker(), Late()
    async with open_hall(store=store, on_event=taker, wall_clock=trio.current_time) as hall:
        # To a slow reader the last notice takes a while, in which it isn't gone.
        member = await hall.join(ROOM, Recorder(stuck=stays))
        assert await hall.evict(ROOM)
        await trio.sleep(10)
        hall.extend(ROOM, 60.0)
        await trio.sleep(0.5)
        if not stays:
            member.detach()
        hall.extend(ROOM, 60.0)
        await trio.sleep(after)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.disperse, ROOM)
            await trio.sleep(10)
        assert taker.kinds(ROOM)[-1] == "dispersed"
        assert store.risen == []


async def test_no_id_comes_twice_where_the_store_lags_behind_one_that_sleeps(
    autojump_clock: MockClock,
) -> None:
    """It tells of its end as it sleeps, is killed before that is noted, and goes on."""
    told: list[LifecycleEvent] = []

    async def take(event: LifecycleEvent) -> None:
        told.append(event)

    async with open_test_hall(on_event=take, idle_timeout=60.0, warn_before=10.0) as room:
        alice = await room.join("alice")
        await alice.submit({"n": 1})
        await trio.sleep(1)
        assert await room.hall.evict("friday-night")
        await room.settle()
        room.store.trouble("write_sleep", "full")
        await trio.sleep(55)
        assert told[-1].kind is EventKind.ENDING
        await room.kill()
        await trio.sleep(30)
    assert [event.kind for event in told][-1] is EventKind.DISPERSED
    assert check(told, all_ended=True)
