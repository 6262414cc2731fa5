"""The rules by which a gathering ends: each alone, together, changed while it lives; warnings."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.instants import LOOK_AGAIN
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import (
    BadBase,
    BadGatheringId,
    BadSetting,
    GatheringCrashed,
    GatheringDispersed,
    HallClosed,
)
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Ack, Dispersed, Ending, Fetch, Joined, Sync
from squire_gatherings._values.op import Op
from squire_gatherings.testing import WallClock
from tests.support import Recorder, Sum

ROOM = "friday-night"
WALL = 1024.0 * 1024


@asynccontextmanager
async def a_hall(wall: WallClock | None = None, **settings: Any) -> AsyncIterator[Hall]:
    async with open_hall(
        store=MemoryStore(),
        wall_clock=wall or WallClock(WALL),
        **{"idle_timeout": 1000.0, **settings},
    ) as hall:
        yield hall


async def gone_at(hall: Hall) -> float:
    """Return when the gathering is gone."""
    while ROOM in hall.gatherings():
        await trio.sleep_until(hall.explain(ROOM).deadline)
        await wait_all_tasks_blocked()
    return trio.current_time()


def ended(recorder: Recorder) -> tuple[float, str]:
    """Return when a client was told that it's over, and why; it was told once."""
    [notice] = recorder.of(Dispersed)
    [(at, code, reason)] = recorder.closed
    assert (code, reason) == (CloseCode.DISPERSED, notice.reason)
    assert recorder.received[-1] == (at, notice)
    return at, notice.reason


def warnings(recorder: Recorder) -> list[tuple[float, str, float | None]]:
    return [(at, m.rule, m.expires_in) for at, m in recorder.received if isinstance(m, Ending)]


# Each rule alone.


async def test_a_gathering_that_nobody_joins_ends(autojump_clock: MockClock) -> None:
    async with a_hall(unjoined_timeout=30.0) as hall:
        await hall.open(ROOM)
        start = trio.current_time()
        assert hall.explain(ROOM).rule == DispersalReason.UNJOINED
        await trio.sleep(20)
        # A call is used, but nobody has joined: it's asked for longer.
        await hall.submit(ROOM, [{"n": 1}])
        assert await gone_at(hall) == start + 50
        assert hall.snapshot().dispersed == {"unjoined": 1}


async def test_once_somebody_has_joined_it_is_joined(autojump_clock: MockClock) -> None:
    async with a_hall(unjoined_timeout=30.0) as hall:
        await hall.open(ROOM)
        await trio.sleep(29)
        membership = await hall.join(ROOM, Recorder())
        start = trio.current_time()
        membership.detach()
        assert hall.explain(ROOM).rule == DispersalReason.IDLE
        assert await gone_at(hall) == start + 1000


async def test_who_is_left_alone_is_told_when_it_ends(autojump_clock: MockClock) -> None:
    async with a_hall(alone_timeout=60.0, alone_clients=2) as hall:
        recorders = [Recorder() for _ in range(3)]
        memberships = [
            await hall.join(ROOM, one, identity=Identity(f"user {number}"))
            for number, one in enumerate(recorders)
        ]
        await trio.sleep(100)
        assert hall.explain(ROOM).rule == DispersalReason.IDLE
        memberships[2].detach()
        left = trio.current_time()
        explained = hall.explain(ROOM)
        assert (explained.rule, explained.deadline) == (DispersalReason.ALONE, left + 60)
        assert attrs.astuple(explained.moved) == ("left", "user 2", left)
        await trio.sleep(59)
        memberships[0].deliver_nowait(Ack(0))
        await recorders[0].wait_closed()
        assert [ended(one) for one in recorders[:2]] == [(left + 119, "alone")] * 2


async def test_somebody_who_comes_ends_the_loneliness(autojump_clock: MockClock) -> None:
    async with a_hall(alone_timeout=60.0) as hall:
        first, second = Recorder(), Recorder()
        await hall.join(ROOM, first)
        await trio.sleep(59)
        await hall.join(ROOM, second)
        start = trio.current_time()
        await first.wait_closed()
        assert ended(first) == ended(second) == (start + 1000, "idle")


async def test_nobody_outstays_the_maximum_age(autojump_clock: MockClock) -> None:
    async with a_hall(max_age=100.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        [joined] = recorder.of(Joined)
        assert (joined.idle_timeout, joined.expires_in, joined.ends_in) == (1000.0, 100.0, 100.0)
        for _ in range(30):
            await trio.sleep(3)
            membership.deliver_nowait(Ack(0))
        await recorder.wait_closed()
        assert ended(recorder) == (start + 100, "max_age")
        assert recorder.of(Dispersed)[0].idle_for == 10


async def test_it_ends_at_an_instant_of_the_wall_clock(autojump_clock: MockClock) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall) as hall:
        ends_at = wall() + 12.25
        await hall.open(ROOM, attrs.evolve(hall.end_rules, ends_at=ends_at))
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        explained = hall.explain(ROOM)
        assert (explained.rule, explained.ends_at) == (DispersalReason.ENDS_AT, ends_at)
        assert explained.left == 12.25
        await recorder.wait_closed()
        assert ended(recorder) == (start + 12.25, "ends_at")
        # Rules belong to an incarnation: this is the next one.
        await hall.join(ROOM, Recorder())
        assert hall.explain(ROOM).rule == DispersalReason.IDLE


@pytest.mark.parametrize("seconds", [-7.5, 3.5])
async def test_the_wall_clock_may_be_set(seconds: float, autojump_clock: MockClock) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        ends_at = wall() + 200
        assert hall.change_rules(ROOM, ends_at=ends_at).deadline == start + 200
        await trio.sleep(10)
        wall.at_zero += seconds
        # Who asks is told by the clock as it is; the timer follows at the next look.
        assert hall.explain(ROOM).deadline == start + 200 - seconds
        await recorder.wait_closed()
        assert ended(recorder) == (start + 200 - seconds, "ends_at")


async def test_a_clock_that_jumps_past_the_instant_ends_it_at_the_next_look(
    autojump_clock: MockClock,
) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        hall.change_rules(ROOM, ends_at=wall() + 500)
        await trio.sleep(5)
        wall.at_zero += 1e6
        await recorder.wait_closed()
        assert ended(recorder) == (start + LOOK_AGAIN, "ends_at")


async def test_who_joins_after_a_jump_past_the_instant_is_told_so(
    autojump_clock: MockClock,
) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall) as hall:
        await hall.open(ROOM)
        hall.change_rules(ROOM, ends_at=wall() + 500)
        await trio.sleep(5)
        wall.at_zero += 1e6
        recorder, start = Recorder(), trio.current_time()
        await hall.join(ROOM, recorder)
        await recorder.wait_closed()
        [joined] = recorder.of(Joined)
        assert (joined.expires_in, joined.ends_in) == (0, 0)
        assert ended(recorder) == (start, "ends_at")


async def test_a_clock_that_is_set_at_once_is_seen_at_the_next_look(
    autojump_clock: MockClock,
) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        hall.change_rules(ROOM, ends_at=wall() + 500)
        wall.at_zero += 1e6
        await recorder.wait_closed()
        assert ended(recorder) == (start + LOOK_AGAIN, "ends_at")


async def test_an_instant_that_has_passed_ends_it_at_once(autojump_clock: MockClock) -> None:
    async with a_hall() as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        hall.change_rules(ROOM, ends_at=0.0)
        await recorder.wait_closed()
        assert ended(recorder) == (start, "ends_at")


# Hold, extend, change.


async def test_a_hold_keeps_it_and_it_ends_when_that_is_over(autojump_clock: MockClock) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall, idle_timeout=10.0) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        explained = hall.hold(ROOM, until=wall() + 300, by="olga")
        assert (explained.deadline, explained.rule) == (start + 300, DispersalReason.IDLE)
        assert explained.held_until == start + 300
        assert attrs.astuple(explained.moved) == ("hold", "olga", start)
        await recorder.wait_closed()
        assert ended(recorder) == (start + 300, "idle")


async def test_a_hold_that_is_taken_back_ends_what_was_due(autojump_clock: MockClock) -> None:
    wall = WallClock(WALL)
    async with a_hall(wall, idle_timeout=10.0) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        hall.hold(ROOM, until=math.inf)
        assert hall.explain(ROOM).deadline == math.inf
        await trio.sleep(5000)
        hall.hold(ROOM, until=None)
        await recorder.wait_closed()
        assert ended(recorder) == (start + 5000, "idle")


async def test_extensions_add_up_and_a_message_may_put_it_off_further(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(idle_timeout=10.0, max_age=100.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        assert hall.extend(ROOM, 5).deadline == start + 15
        assert hall.extend(ROOM, 5.5, by="olga").deadline == start + 20.5
        assert hall.explain(ROOM).moved.by == "olga"
        await trio.sleep(15)
        membership.deliver_nowait(Ack(0))
        await recorder.wait_closed()
        assert ended(recorder) == (start + 25, "idle")


async def test_other_rules_hold_at_once(autojump_clock: MockClock) -> None:
    async with a_hall() as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep(50)
        assert hall.change_rules(ROOM, idle_timeout=60.0).deadline == start + 60
        await trio.sleep(5)
        assert hall.change_rules(ROOM, idle_timeout=300.0).deadline == start + 300
        await recorder.wait_closed()
        assert ended(recorder) == (start + 300, "idle")


async def test_nothing_of_this_is_activity(autojump_clock: MockClock) -> None:
    async with a_hall() as hall:
        await hall.join(ROOM, Recorder())
        start = trio.current_time()
        await trio.sleep(10)
        hall.explain(ROOM)
        hall.hold(ROOM, until=0.0)
        hall.change_rules(ROOM, max_age=5000.0)
        hall.warn(ROOM)
        explained = hall.explain(ROOM)
        assert (explained.last_processed_at, explained.deadline) == (start, start + 1000)


CALLS: dict[str, Callable[[Hall, str], Any]] = {
    "explain": lambda hall, name: hall.explain(name),
    "hold": lambda hall, name: hall.hold(name, until=1.0),
    "extend": lambda hall, name: hall.extend(name, 1.0),
    "change": lambda hall, name: hall.change_rules(name, max_age=1.0),
    "warn": lambda hall, name: hall.warn(name),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_not_open_cannot_be_asked(name: str, autojump_clock: MockClock) -> None:
    async with a_hall() as hall:
        with pytest.raises(GatheringDispersed):
            CALLS[name](hall, ROOM)
        with pytest.raises(BadGatheringId):
            CALLS[name](hall, "a/b")
        assert hall.gatherings() == ()
        await hall.open(ROOM)
        await hall.disperse(ROOM)
        with pytest.raises(GatheringDispersed):
            CALLS[name](hall, ROOM)
    with pytest.raises(HallClosed):
        CALLS[name](hall, ROOM)


async def test_nonsense_changes_nothing(autojump_clock: MockClock) -> None:
    async with a_hall() as hall:
        await hall.open(ROOM)
        before = hall.explain(ROOM)
        nonsense: list[Callable[[], Any]] = [
            lambda: hall.extend(ROOM, 0),
            lambda: hall.extend(ROOM, -1),
            lambda: hall.extend(ROOM, math.inf),
            lambda: hall.extend(ROOM, math.nan),
            lambda: hall.extend(ROOM, "5"),  # type: ignore[arg-type]
            lambda: hall.hold(ROOM, until="noon"),  # type: ignore[arg-type]
            lambda: hall.hold(ROOM, until=math.nan),
            lambda: hall.change_rules(ROOM, max_age=-1),
            lambda: hall.change_rules(ROOM, idle_timeout=10, alone_clients=0),
            lambda: hall.change_rules(ROOM, age=1),  # type: ignore[call-arg]
            lambda: hall.change_rules(ROOM, is_plain=True),  # type: ignore[call-arg]
        ]
        for call in nonsense:
            with pytest.raises(BadSetting):
                call()
        with pytest.raises(BadSetting):
            await hall.open(ROOM, {"max_age": 1})  # type: ignore[arg-type]
        assert hall.explain(ROOM) == before


async def test_gatherings_with_the_rules_of_the_hall_share_one_object(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(max_age=100.0) as hall:
        await hall.open("a")
        await hall.open("b")
        assert hall.explain("a").rules is hall.explain("b").rules is hall.end_rules


# At the instant.


class Unread(Recorder):
    """A connection that has messages which nobody has read, and brings one at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.membership: Membership | None = None
        self.unread: list[Any] = []

    def read_arrived(self) -> bool:
        assert self.membership is not None
        if self.unread:
            self.membership.deliver_nowait(self.unread.pop(0))
        return bool(self.unread)


def a_sync(name: str) -> Sync:
    return Sync(name, 0, (Op.of({"n": name}),))


async def test_what_arrived_before_a_fixed_end_is_processed(autojump_clock: MockClock) -> None:
    async with a_hall(max_age=10.0) as hall:
        clients = [Unread() for _ in range(3)]
        for client in clients:
            client.membership = await hall.join(ROOM, client)
        start = trio.current_time()
        for number, client in enumerate(clients):
            client.unread = [a_sync(f"{number}-{n}") for n in range(5)]
        await clients[0].wait_closed()
        assert [ended(one) for one in clients] == [(start + 10, "max_age")] * 3
        assert (await hall.fetch(ROOM, since=0)).seq == 15


async def test_nobody_puts_a_fixed_end_off_by_talking(autojump_clock: MockClock) -> None:
    class Endless(Unread):
        def read_arrived(self) -> bool:
            assert self.membership is not None
            self.membership.deliver_nowait(Ack(0))
            return False

    async with a_hall(max_age=10.0) as hall:
        client = Endless()
        client.membership = await hall.join(ROOM, client)
        start = trio.current_time()
        talking = trio.CancelScope()

        async def talk() -> None:
            with talking:
                await trio.sleep_until(start + 10)
                while not client.closed:
                    await client.membership.deliver(Ack(0))  # type: ignore[union-attr]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await client.wait_closed()
            talking.cancel()
        assert ended(client) == (start + 10, "max_age")


@pytest.mark.parametrize("seconds", [10.0, 10.5])
async def test_a_message_at_the_very_instant_keeps_what_is_idle_and_not_what_is_old(
    seconds: float, autojump_clock: MockClock
) -> None:
    async with a_hall(idle_timeout=10.0, max_age=seconds) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep_until(start + 10)
        membership.deliver_nowait(a_sync("s"))
        await recorder.wait_closed()
        assert ended(recorder) == (start + seconds, "max_age")
        assert (await hall.fetch(ROOM, since=0)).seq == 1


async def test_more_time_at_the_very_instant_is_more_time(autojump_clock: MockClock) -> None:
    async with a_hall(max_age=10.0) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep_until(start + 10)
        if ROOM in hall.gatherings():
            hall.extend(ROOM, 5)
        await recorder.wait_closed()
        assert ended(recorder)[0] == start + 15


async def test_a_refused_join_ends_nothing_for_which_another_asks(
    autojump_clock: MockClock,
) -> None:
    """Nobody has used it yet, and the one who wants in comes when the other has just been refused:
    so many turns after that one began, and before or after it within the turn."""
    async with a_hall() as hall, trio.open_nursery() as nursery:

        async def is_refused(room: str) -> None:
            with pytest.raises(BadBase):
                await hall.join(room, Recorder(), since=17)

        recorders = []
        for number in range(120):
            room = f"{ROOM}-{number}"
            nursery.start_soon(is_refused, room)
            for _ in range(number % 12):
                await trio.lowlevel.checkpoint()
            recorder = Recorder()
            recorders.append(recorder)
            nursery.start_soon(hall.join, room, recorder)
            await wait_all_tasks_blocked()
        assert [one.closed for one in recorders if one.closed] == []


async def test_more_time_while_the_last_are_heard_is_more_time(autojump_clock: MockClock) -> None:
    class Extending(Recorder):
        """While it is heard before the end, the program gives more time."""

        def read_arrived(self) -> bool:
            if trio.current_time() < start + 15:
                hall.extend(ROOM, 5)
            return False

    async with a_hall(max_age=10.0) as hall:
        start = trio.current_time()
        recorder = Extending()
        await hall.join(ROOM, recorder)
        await recorder.wait_closed()
        assert ended(recorder)[0] == start + 15


# Warnings.


async def test_a_warning_that_nobody_answers(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=100.0, warn_before=10.0) as hall:
        recorders = [Recorder() for _ in range(2)]
        for one in recorders:
            await hall.join(ROOM, one)
        start = trio.current_time()
        await recorders[0].wait_closed()
        for one in recorders:
            assert warnings(one) == [(start + 90, "idle", 10.0)]
            [warning] = one.of(Ending)
            assert warning.at_time == (WALL + start + 100) * 1000
            assert ended(one) == (start + 100, "idle")


async def test_a_warning_that_somebody_answers(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=100.0, warn_before=60.0) as hall:
        first, second = Recorder(), Recorder()
        membership = await hall.join(ROOM, first)
        await hall.join(ROOM, second)
        start = trio.current_time()
        await trio.sleep_until(start + 41)
        membership.deliver_nowait(Fetch("f", 0))
        await first.wait_closed()
        # The next warning comes before the end that was put off.
        told = [(start + 40, "idle", 60.0), (start + 41, "idle", None), (start + 81, "idle", 60.0)]
        assert warnings(first) == warnings(second) == told
        assert ended(first) == (start + 141, "idle")


@pytest.mark.parametrize("at", [90.0, 100.0])
async def test_a_message_at_the_instant_of_the_warning_or_the_end(
    at: float, autojump_clock: MockClock
) -> None:
    async with a_hall(idle_timeout=100.0, warn_before=10.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep_until(start + at)
        membership.deliver_nowait(Ack(0))
        await recorder.wait_closed()
        assert ended(recorder) == (start + at + 100, "idle")
        told = warnings(recorder)
        assert told[-1] == (start + at + 90, "idle", 10.0)
        # It was told that the first one is off, if it was told of it at all.
        assert told[:-1] in ([], [(start + 90, "idle", 10.0), (start + at, "idle", None)])


async def test_a_message_does_not_answer_the_maximum_age(autojump_clock: MockClock) -> None:
    async with a_hall(max_age=100.0, warn_before=10.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep_until(start + 95)
        membership.deliver_nowait(Ack(0))
        await wait_all_tasks_blocked()
        assert warnings(recorder) == [(start + 90, "max_age", 10.0)]
        hall.extend(ROOM, 50)
        await recorder.wait_closed()
        told = [(start + 90, 10.0), (start + 95, None), (start + 140, 10.0)]
        assert warnings(recorder) == [(at, "max_age", left) for at, left in told]
        assert ended(recorder) == (start + 150, "max_age")


async def test_an_end_that_comes_nearer_is_told_at_once(autojump_clock: MockClock) -> None:
    async with a_hall(warn_before=30.0, alone_timeout=40.0) as hall:
        first = Recorder()
        await hall.join(ROOM, first)
        other = await hall.join(ROOM, Recorder())
        start = trio.current_time()
        await trio.sleep(100)
        other.detach()
        await trio.sleep(5)
        hall.change_rules(ROOM, alone_timeout=31.0)
        await first.wait_closed()
        assert warnings(first) == [(start + 105, "alone", 26.0)]
        assert ended(first) == (start + 131, "alone")


async def test_who_joins_within_the_time_of_a_warning_is_told(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=50.0, max_age=100.0, warn_before=20.0) as hall:
        first = Recorder()
        incarnation = (await hall.join(ROOM, first)).incarnation
        start = trio.current_time()
        await trio.sleep(35)
        returned = Recorder()
        await hall.join(ROOM, returned, resume=incarnation)
        assert [type(one) for _, one in returned.received] == [Joined, Ending]
        assert warnings(returned) == [(start + 35, "idle", 15.0)]
        await trio.sleep(10)
        # A join answers: it's told nothing of what is off by then.
        joined = Recorder()
        await hall.join(ROOM, joined)
        assert warnings(joined) == []
        assert warnings(first)[1:] == warnings(returned)[1:] == [(start + 45, "idle", None)]
        await trio.sleep(40)
        late = Recorder()
        await hall.join(ROOM, late)
        assert [type(one) for _, one in late.received] == [Joined, Ending]
        assert warnings(late) == [(start + 85, "max_age", 15.0)]
        await first.wait_closed()
        assert ended(first) == (start + 100, "max_age")


async def test_a_warning_when_the_program_wants_it(autojump_clock: MockClock) -> None:
    async with a_hall(warn_before=10.0) as hall:
        recorder = Recorder()
        membership = await hall.join(ROOM, recorder)
        start = trio.current_time()
        await trio.sleep(100)
        assert hall.warn(ROOM).warned
        await trio.sleep(100)
        membership.deliver_nowait(Ack(0))
        await trio.sleep(100)
        hall.warn(ROOM)
        await recorder.wait_closed()
        assert warnings(recorder) == [
            (start + 100, "idle", 900.0),
            (start + 200, "idle", None),
            (start + 300, "idle", 900.0),
            # What was asked for takes nothing away of what is due.
            (start + 1190, "idle", 10.0),
        ]


async def test_what_never_ends_is_not_warned_of(autojump_clock: MockClock) -> None:
    async with a_hall(idle_timeout=math.inf) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        explained = hall.warn(ROOM)
        assert (explained.rule, explained.ends_at, explained.left) == (None, None, math.inf)
        assert hall.extend(ROOM, 5).deadline == math.inf
        assert warnings(recorder) == []


def minutes(text: str) -> float:
    """Return the seconds from 20:00 on of a time of day."""
    hour, minute = map(int, text.split(":"))
    return ((hour - 20) % 24 * 60 + minute) * 60.0


async def test_the_worked_example_of_the_docs(autojump_clock: MockClock) -> None:
    wall = WallClock(WALL)
    rules = {"idle_timeout": 3600.0, "alone_timeout": 600.0, "max_age": 4 * 3600.0}
    async with a_hall(wall, warn_before=300.0, **rules) as hall:
        start = trio.current_time()
        alice, bob, again = Recorder(), Recorder(), Recorder()
        members: list[Membership] = []

        async def join(who: Recorder) -> None:
            members.append(await hall.join(ROOM, who))

        async def submit() -> None:
            members[-1].deliver_nowait(Ack(0))

        async def fetch() -> None:
            members[0].deliver_nowait(Fetch("f", 0))

        async def leave() -> None:
            members[1].detach()

        async def hold() -> None:
            hall.hold(ROOM, until=wall() + minutes("23:30") - minutes("22:31"))

        life: list[tuple[str, Callable[[], Any] | None, str, str]] = [
            ("20:00", lambda: join(alice), "20:10", "alone"),
            ("20:03", lambda: join(bob), "21:03", "idle"),
            ("20:45", submit, "21:45", "idle"),
            ("21:40", None, "21:45", "idle"),
            ("21:42", fetch, "22:42", "idle"),
            ("22:30", leave, "22:40", "alone"),
            ("22:31", hold, "23:30", "alone"),
            ("23:25", None, "23:30", "alone"),
            ("23:26", lambda: join(again), "00:00", "max_age"),
            ("23:55", submit, "00:00", "max_age"),
        ]
        for at, act, deadline, rule in life:
            await trio.sleep_until(start + minutes(at))
            if act is not None:
                await act()
            await wait_all_tasks_blocked()
            explained = hall.explain(ROOM)
            assert (explained.deadline, explained.rule) == (start + minutes(deadline), rule), at
        await alice.wait_closed()
        assert ended(alice) == ended(again) == (start + minutes("00:00"), "max_age")
        assert [(at, rule, left is None) for at, rule, left in warnings(alice)] == [
            (start + minutes("21:40"), "idle", False),
            (start + minutes("21:42"), "idle", True),
            (start + minutes("23:25"), "alone", False),
            (start + minutes("23:26"), "alone", True),
            (start + minutes("23:55"), "max_age", False),
        ]


# A behaviour's own rules.


class Clocked(Sum):
    """A behaviour whose ops say when its gathering ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends_at: float | None = None
        self.asked = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        if "lasts" in op.value:
            self.ends_at = stamp.time / 1000 + op.value["lasts"]

    def end_rules(self, rules: EndRules) -> EndRules | None:
        self.asked += 1
        if self.ends_at == 0.0:
            raise ZeroDivisionError
        if self.ends_at is None:
            return None
        return attrs.evolve(rules, ends_at=self.ends_at)

    def snapshot(self) -> Any:
        return self.ends_at

    def restore(self, snapshot: Any) -> None:
        self.ends_at = snapshot


@pytest.mark.parametrize("snapshot_every", [1, 1000])
async def test_a_behaviour_changes_the_rules_by_an_op(
    snapshot_every: int, autojump_clock: MockClock
) -> None:
    async with a_hall(behaviour=Clocked, snapshot_every=snapshot_every) as hall:
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        start = trio.current_time()
        assert hall.explain(ROOM).rule == DispersalReason.IDLE
        await hall.submit(ROOM, [{"lasts": 100}])
        explained = hall.explain(ROOM)
        assert (explained.rule, explained.left) == (DispersalReason.ENDS_AT, 100.0)
        await hall.disperse(ROOM)
        await trio.sleep(40)
        # It is restored by the same ops, and ends at the same instant.
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        await trio.sleep(10)
        await hall.submit(ROOM, [{"other": 1}])
        # What the program changes comes before.
        hall.change_rules(ROOM, ends_at=None)
        await hall.submit(ROOM, [{"other": 1}])
        assert hall.explain(ROOM).rule == DispersalReason.IDLE
        await hall.disperse(ROOM)
        recorder = Recorder()
        await hall.join(ROOM, recorder)
        await recorder.wait_closed()
        assert ended(recorder) == (start + 100, "ends_at")


async def test_end_rules_that_raise_crash_the_gathering_once(autojump_clock: MockClock) -> None:
    async with a_hall(behaviour=Clocked) as hall:
        await hall.submit(ROOM, [{"lasts": 1000}], sync_id="good")
        with pytest.raises(GatheringCrashed):
            await hall.submit(ROOM, [{"lasts": -(WALL + trio.current_time())}], sync_id="bad")
        # The op isn't durable, and isn't taken again.
        assert (await hall.fetch(ROOM)).seq == 1


async def test_rules_that_are_none_crash_it(autojump_clock: MockClock) -> None:
    class Wrong(Clocked):
        def end_rules(self, rules: EndRules) -> EndRules | None:
            return {"max_age": 5}  # type: ignore[return-value]

    async with a_hall(behaviour=Wrong) as hall:
        with pytest.raises(GatheringCrashed):
            await hall.open(ROOM)
