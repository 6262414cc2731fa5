"""What a behaviour does by itself: at an instant, when it opens, and when it ends."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    EndRules,
    GatheringCrashed,
    Hall,
    Membership,
    Op,
    OpRejected,
    Outgoing,
    Stamp,
    Submission,
    open_hall,
)
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from squire_gatherings._values.messages import Ack, Dispersed, Forward, Sync, SyncRun
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.settings import HallSettings
from squire_gatherings.testing import WallClock
from tests.hall.rights import DAY_ONE, ROOM
from tests.handover.moves import move
from tests.support import Recorder, examples

MINUTE = 60_000


def ms(seconds: float) -> int:
    """An instant of the wall clock, so many seconds after the test's beginning."""
    return round((DAY_ONE + seconds) * 1000)


class Rounds:
    """Rounds of a tournament: a round is over at its instant, whoever is there."""

    serves_snapshots = True
    lives: list[tuple[Any, ...]]
    """What all of them were told of their lives."""

    def __init__(self) -> None:
        self.rounds: list[dict[str, Any]] = []

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        [op] = ops
        match op.value:
            case {"do": "start", "minutes": float() | int()}:
                if self.rounds and self.rounds[-1]["over"] is None:
                    raise OpRejected("a round is being played")
            case {"do": "report"}:
                if not self.rounds or self.rounds[-1]["over"] is not None:
                    raise OpRejected("the round is over")
            case _:
                raise OpRejected("that's no op of a tournament")
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        value = op.value
        match value["do"]:
            case "start":
                ends = stamp.time + round(value["minutes"] * MINUTE)
                self.rounds.append({"ends": ends, "over": None, "reports": 0, "by": stamp.by})
            case "report":
                self.rounds[-1]["reports"] += 1
            case "end":
                self.rounds[-1]["over"] = stamp.time

    def due_at(self) -> int | None:
        if self.rounds and self.rounds[-1]["over"] is None:
            ends: int = self.rounds[-1]["ends"]
            return ends
        return None

    def act(self, time: int) -> Sequence[Op]:
        return [Op.of({"do": "end", "round": len(self.rounds)})]

    def snapshot(self) -> Any:
        return self.rounds

    def restore(self, snapshot: Any) -> None:
        self.rounds = snapshot


class Watcher(Recorder):
    """A connection that acknowledges what it is forwarded."""

    membership: Membership | None = None

    def send(self, outgoing: Outgoing) -> None:
        super().send(outgoing)
        message = outgoing.message
        if self.membership is not None and isinstance(message, Forward):
            self.membership.deliver_nowait(Ack(message.seq))

    def ended(self) -> list[float]:
        """When it was told that a round is over."""
        return [at for at, _, _, op in self.forwards() if op["do"] == "end"]


async def watched(hall: Hall, **more: Any) -> Watcher:
    watcher = Watcher()
    watcher.membership = await hall.join(ROOM, watcher, **more)
    return watcher


async def start(hall: Hall, minutes: float = 1) -> None:
    await hall.submit(ROOM, [{"do": "start", "minutes": minutes}])


async def rounds(hall: Hall) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await hall.fetch(ROOM)).snapshot
    return found


async def test_it_acts_at_its_instant_and_everybody_is_told(autojump_clock: MockClock) -> None:
    async with open_hall(behaviour=Rounds, wall_clock=WallClock(DAY_ONE)) as hall:
        watcher = await watched(hall, times=True, syncs=True)
        await trio.sleep_until(5.5)
        await start(hall)
        await trio.sleep(100)
        told = [(at, one) for at, one in watcher.received if isinstance(one, Forward)]
        at, forward = told[1]
        assert (at, forward.by, forward.op.value) == (65.5, None, {"do": "end", "round": 1})
        assert (forward.time, forward.seq) == (ms(65.5), 2)
        assert forward.sync == SyncRun(2, 1, "2")
        [one] = await rounds(hall)
        assert one["over"] == one["ends"] == ms(65.5)
        with pytest.raises(OpRejected, match="over"):
            await hall.submit(ROOM, [{"do": "report"}])


async def test_it_is_no_activity(autojump_clock: MockClock) -> None:
    async with open_hall(
        behaviour=Rounds, wall_clock=WallClock(DAY_ONE), idle_timeout=100.0
    ) as hall:
        await start(hall)
        await trio.sleep_until(99)
        explained = hall.explain(ROOM)
        assert (explained.deadline, explained.moved.what) == (100, "sync")
        assert hall.snapshot().gatherings[0].seq == 2
        await trio.sleep_until(101)
        assert hall.gatherings() == ()


async def test_what_comes_after_the_instant_is_judged_after_it(autojump_clock: MockClock) -> None:
    """The clock is set past the instant while nobody looks: what is heard first still comes
    second."""
    wall = WallClock(DAY_ONE)
    async with open_hall(behaviour=Rounds, wall_clock=wall) as hall:
        await start(hall)
        await hall.submit(ROOM, [{"do": "report"}])
        wall.at_zero = DAY_ONE + 60.0
        with pytest.raises(OpRejected, match="over"):
            await hall.submit(ROOM, [{"do": "report"}])
        [one] = await rounds(hall)
        assert one["reports"] == 1


async def test_a_clock_that_is_set_moves_the_instant(autojump_clock: MockClock) -> None:
    wall = WallClock(DAY_ONE)
    async with open_hall(behaviour=Rounds, wall_clock=wall) as hall:
        watcher = await watched(hall)
        await start(hall, 10)
        await trio.sleep(10)
        wall.at_zero = DAY_ONE - 100.0
        await trio.sleep(1000)
        assert watcher.ended() == [700]


@pytest.mark.parametrize("asleep", [False, True])
async def test_what_was_missed_is_done_when_it_is_opened_again(
    asleep: bool, autojump_clock: MockClock
) -> None:
    store = MemoryStore()
    async with open_hall(store=store, behaviour=Rounds, wall_clock=WallClock(DAY_ONE)) as hall:
        await start(hall)
        if asleep:
            await hall.evict(ROOM)
        await hall.disperse(ROOM)
    await trio.sleep_until(1000)
    async with open_hall(store=store, behaviour=Rounds, wall_clock=WallClock(DAY_ONE)) as hall:
        with pytest.raises(OpRejected, match="over"):
            await hall.submit(ROOM, [{"do": "report"}])
        [one] = await rounds(hall)
        assert (one["ends"], one["over"]) == (ms(60), ms(1000))


async def test_one_that_sleeps_wakes_for_it_and_sleeps_on(autojump_clock: MockClock) -> None:
    async with open_hall(
        behaviour=Rounds, wall_clock=WallClock(DAY_ONE), sleep_after=10.0, idle_timeout=1000.0
    ) as hall:

        def stage() -> Stage | None:
            seen = observer_of(hall).gathering(ROOM)
            return None if seen is None else seen.stage

        await start(hall)
        await trio.sleep_until(50)
        assert stage() is Stage.ASLEEP
        before = hall.explain(ROOM)
        await trio.sleep_until(60.5)
        assert stage() is Stage.OPEN
        await trio.sleep_until(80)
        assert stage() is Stage.ASLEEP
        assert hall.explain(ROOM).deadline == before.deadline
        [one] = await rounds(hall)
        assert one["over"] == ms(60)


async def test_it_waits_until_what_came_before_is_durable(autojump_clock: MockClock) -> None:
    class Failing(MemoryStore):
        failing = False

        def append_nowait(self, append: Append, ended: Callable[..., None]) -> bool:
            if self.failing:
                raise StoreUnavailable("away")
            return super().append_nowait(append, ended)

    store = Failing()
    async with open_hall(store=store, behaviour=Rounds, wall_clock=WallClock(DAY_ONE)) as hall:
        watcher = await watched(hall)
        membership = watcher.membership
        assert membership is not None
        await start(hall)
        await trio.sleep_until(30)
        store.failing = True
        membership.deliver_nowait(Sync("r", 1, (Op.of({"do": "report"}),)))
        await trio.sleep_until(100)
        store.failing = False
        await trio.sleep_until(102)
        [one] = await rounds(hall)
        assert one["reports"] == 1
        assert ms(100) <= one["over"] <= ms(101)


async def test_it_goes_on_in_another_process(autojump_clock: MockClock) -> None:
    settings, store = HallSettings(), MemoryStore()
    async with AsyncExitStack() as stack:
        opened = open_hall(
            store=store, settings=settings, behaviour=Rounds, wall_clock=WallClock(DAY_ONE)
        )
        hall = await stack.enter_async_context(opened)
        watcher = await watched(hall)
        assert watcher.membership is not None
        membership, watcher.membership = watcher.membership, None
        await start(hall)
        membership.deliver_nowait(Ack(1))
        await trio.sleep_until(30)
        hall, _ = await move(
            stack,
            hall,
            store,
            settings,
            {watcher: membership},
            behaviour=Rounds,
            wall_clock=WallClock(DAY_ONE),
        )
        await trio.sleep_until(100)
        assert watcher.ended()[0] == 60


class Ticks(Rounds):
    """Acts each minute, by several ops, from its very beginning on."""

    def __init__(self) -> None:
        self.ticks: list[int] = []

    def fold(self, op: Op, stamp: Stamp) -> None:
        self.ticks.append(op.value["at"])

    def due_at(self) -> int | None:
        return self.ticks[-1] + MINUTE if self.ticks else ms(0)

    def act(self, time: int) -> Sequence[Op]:
        due = self.due_at()
        return [Op.of({"at": due, "n": n}) for n in range(2)]

    def snapshot(self) -> Any:
        return self.ticks

    def restore(self, snapshot: Any) -> None:
        self.ticks = snapshot


async def test_each_instant_that_was_missed_is_acted_on(autojump_clock: MockClock) -> None:
    await trio.sleep_until(5 * 60 + 1)
    async with open_hall(behaviour=Ticks, wall_clock=WallClock(DAY_ONE)) as hall:
        await hall.open(ROOM)
        await wait_all_tasks_blocked()
        page = await hall.fetch(ROOM, since=0, syncs=True)
        assert [op.value["at"] for op in page.ops] == [ms(n * 60) for n in range(6) for _ in "ab"]
        assert [(one.first_seq, one.count) for one in page.syncs] == [
            (n, 2) for n in range(1, 13, 2)
        ]
        await trio.sleep_until(6 * 60)
        await wait_all_tasks_blocked()
        assert (await hall.fetch(ROOM, since=12)).seq == 14


class Holds(Rounds):
    """Is held open until its round is over."""

    def end_rules(self, rules: EndRules) -> EndRules | None:
        due = self.due_at()
        return EndRules(idle_timeout=10, hold_until=None if due is None else due / 1000 + 1)


async def test_a_behaviour_may_hold_its_gathering_until_then(autojump_clock: MockClock) -> None:
    async with open_hall(behaviour=Holds, wall_clock=WallClock(DAY_ONE)) as hall:
        watcher = await watched(hall)
        await start(hall)
        await watcher.wait_closed()
        # Its last acknowledgement is the last message.
        assert trio.current_time() == pytest.approx(70)
        [notice] = watcher.of(Dispersed)
        assert notice.seq == 2


async def test_who_ends_at_the_same_instant_acts_before(autojump_clock: MockClock) -> None:
    class Ends(Rounds):
        def end_rules(self, rules: EndRules) -> EndRules | None:
            return EndRules(ends_at=self.rounds[-1]["ends"] / 1000) if self.rounds else None

    async with open_hall(behaviour=Ends, wall_clock=WallClock(DAY_ONE)) as hall:
        watcher = await watched(hall)
        await start(hall)
        await watcher.wait_closed()
        assert trio.current_time() == pytest.approx(60)
        [notice] = watcher.of(Dispersed)
        assert (notice.reason, notice.seq) == ("ends_at", 2)


def failing(name: str, value: Any) -> type[Rounds]:
    def fail(self: Rounds, *args: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return type("Failing", (Rounds,), {name: fail})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act", RuntimeError("broken")),
        ("act", OpRejected("no")),
        ("act", []),
        ("act", None),
        ("act", [{"do": "end"}]),
        ("act", [Op(b"[")]),
        ("act", [Op.of({"do": "report"})]),
        ("due_at", "soon"),
        ("due_at", 1.5),
        ("due_at", 2**70),
        ("due_at", RuntimeError("broken")),
        ("due_at", OpRejected("no")),
    ],
)
async def test_what_it_may_not_do_crashes_it_and_logs_nothing(
    name: str, value: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    async with open_hall(
        store=store, behaviour=failing(name, value), wall_clock=WallClock(DAY_ONE)
    ) as hall:
        if name == "due_at":
            with pytest.raises(GatheringCrashed):
                await watched(hall)
        else:
            watcher = await watched(hall)
            await start(hall)
            await watcher.wait_closed()
            assert [one.reason for one in watcher.of(Dispersed)] == ["crashed"]
            # It would crash again at each opening: nobody waits for that.
            with pytest.raises(GatheringCrashed):
                await hall.fetch(ROOM)
    loaded = await store.load(ROOM, recent_syncs=10)
    assert loaded.seq == (0 if name == "due_at" else 1)


# Its life.


class Told(Rounds):
    lives: list[tuple[Any, ...]] = []  # noqa: RUF012 (each test begins with none)

    def opened(self, gathering_id: str, incarnation: str) -> None:
        self.lives.append((gathering_id, incarnation, len(self.rounds)))

    def closed(self, reason: str | None) -> None:
        self.lives.append((reason,))


async def test_it_is_told_of_its_life(autojump_clock: MockClock) -> None:
    Told.lives = []
    store = MemoryStore()
    async with open_hall(store=store, behaviour=Told, wall_clock=WallClock(DAY_ONE)) as hall:
        await start(hall)
        incarnation = hall.explain(ROOM).incarnation
        assert Told.lives == [(ROOM, incarnation, 0)]
        await hall.evict(ROOM)
        assert Told.lives[1:] == [(None,)]
        await hall.fetch(ROOM)
        assert Told.lives[2:] == [(ROOM, incarnation, 1)]
        await hall.fetch(ROOM, at=1)
        await hall.disperse(ROOM)
        assert Told.lives[3:] == [("admin",)]
        await hall.open(ROOM)
    assert [one[0] for one in Told.lives[4:]] == [ROOM, "shutdown"]


async def test_one_that_fails_at_its_opening_cannot_be_restored(
    autojump_clock: MockClock,
) -> None:
    class Fails(Told):
        def opened(self, gathering_id: str, incarnation: str) -> None:
            raise RuntimeError("no")

    async with open_hall(behaviour=Fails) as hall:
        with pytest.raises(GatheringCrashed):
            await hall.open(ROOM)


async def test_one_that_fails_at_its_end_ends_all_the_same(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Told):
        def closed(self, reason: str | None) -> None:
            raise RuntimeError("no")

    async with open_hall(behaviour=Fails) as hall:
        watcher = await watched(hall)
        await hall.disperse(ROOM)
        assert [one.reason for one in watcher.of(Dispersed)] == ["admin"]
        assert hall.gatherings() == ()
    assert "when it was closed" in caplog.text


# Whole lives.


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("start"), st.sampled_from([0.1, 0.5, 1.0])),
            st.tuples(st.just("report"), st.just(0.0)),
            st.tuples(st.just("wait"), st.sampled_from([1.0, 6.0, 29.9, 30.0, 61.0])),
            st.tuples(st.just("evict"), st.just(0.0)),
            st.tuples(st.just("disperse"), st.just(0.0)),
            st.tuples(st.just("restart"), st.sampled_from([0.0, 20.0])),
            st.tuples(st.just("set"), st.sampled_from([-40.0, 7.0, 90.0])),
        ),
        max_size=25,
    )
)
def test_each_round_is_over_once_and_at_its_instant(plan: list[tuple[str, float]]) -> None:
    async def live() -> None:
        store, wall = MemoryStore(), WallClock(DAY_ONE)
        stack = AsyncExitStack()

        async def opened() -> Hall:
            again = open_hall(
                store=store,
                behaviour=Rounds,
                wall_clock=wall,
                sleep_after=20.0,
                idle_timeout=1000.0,
            )
            return await stack.enter_async_context(again)

        hall, away = await opened(), True
        clock_was_set = False
        for what, value in plan:
            match what:
                case "start":
                    away = ROOM not in hall.gatherings()
                    with suppress(OpRejected):
                        await start(hall, value)
                        clock_was_set = False
                case "report":
                    with suppress(OpRejected):
                        await hall.submit(ROOM, [{"do": "report"}])
                case "wait":
                    await trio.sleep(value)
                case "evict":
                    await hall.evict(ROOM)
                case "disperse":
                    away |= await hall.disperse(ROOM)
                case "restart":
                    await stack.aclose()
                    await trio.sleep(value)
                    hall, away = await opened(), True
                case "set":
                    wall.step(value)
                    clock_was_set = True
            await wait_all_tasks_blocked()
        await hall.open(ROOM)
        await trio.sleep(200)
        found = await rounds(hall)
        for one in found:
            assert one["over"] is not None, found
            assert one["over"] >= one["ends"]
        if found and not away and not clock_was_set:
            assert found[-1]["over"] == found[-1]["ends"]
        page = await hall.fetch(ROOM, since=0)
        said = [op.value["round"] for op in page.ops if op.value["do"] == "end"]
        assert said == list(range(1, len(found) + 1))
        for op, time in zip(page.ops, page.times, strict=True):
            if op.value["do"] == "end":
                over = found[op.value["round"] - 1]["over"]
                assert over == time
        await stack.aclose()

    trio.run(live, clock=MockClock(autojump_threshold=0))
