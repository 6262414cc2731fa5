"""Many gatherings that are due at once: they end in turns, with everybody else in between."""

import math
from collections.abc import Callable
from itertools import count

import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.turnstile import AT_ONCE, Turnstile, Waiting
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import (
    Dispersed,
    Fetch,
    Fetched,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallOptions
from tests.support import Recorder, examples, slow_store

MANY = 5 * AT_ONCE
NUMBERS = count()


class Watched(Recorder):
    """A connection that says when it is closed, and may have a message that nobody has read."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        super().__init__()
        self.on_close = on_close
        self.membership: Membership | None = None
        self.unread: list[Fetch] = []

    def read_arrived(self) -> None:
        unread, self.unread = self.unread, []
        for message in unread:
            assert self.membership is not None
            self.membership.deliver_nowait(message)

    def close(self, code: CloseCode, reason: str) -> None:
        super().close(code, reason)
        self.on_close()


class Burst:
    """Many gatherings with a client each, all due at the same instant."""

    def __init__(self, hall: Hall, count: int = MANY) -> None:
        self.hall = hall
        self.ends = 0
        """How many clients have had the last notice."""
        self.events: list[str] = []
        """Each `end`, and what a test adds."""
        self.on_first: Callable[[], None] = lambda: None
        self.clients = [Watched(self._ended) for _ in range(count)]
        self.due = 0.0
        self.reaped_before = 0
        """How many were gone when the last client had its notice."""

    async def join(self) -> None:
        for number, client in enumerate(self.clients):
            client.membership = await self.hall.join(f"room-{number}", client)
        self.due = trio.current_time() + self.hall.settings.idle_timeout

    def _ended(self) -> None:
        self.ends += 1
        self.events.append("end")
        if self.ends == 1:
            self.on_first()
        if self.ends == len(self.clients):
            self.reaped_before = self.reaped

    async def wait(self) -> None:
        for client in self.clients:
            await client.wait_closed()

    @property
    def reaped(self) -> int:
        return sum(self.hall.snapshot().dispersed.values())


class Passes(trio.abc.Instrument):
    """Notes by how much a count has grown at most in one of Trio's passes."""

    def __init__(self, count: Callable[[], int]) -> None:
        self.count = count
        self.before = count()
        self.most = 0

    def before_io_wait(self, timeout: float) -> None:
        now = self.count()
        self.most = max(self.most, now - self.before)
        self.before = now


async def test_all_end_at_the_instant(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        await burst.wait()
        assert {client.closed[0][0] for client in burst.clients} == {burst.due}
        assert {client.closed[0][2] for client in burst.clients} == {"idle"}
        await wait_all_tasks_blocked()
        assert burst.reaped == MANY


async def test_others_have_their_turns_in_between(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()

        async def use_another() -> None:
            await trio.sleep_until(burst.due)
            while burst.ends < MANY:
                await hall.submit("another", [{"n": 1}])
                burst.events.append("submitted")

        passes = Passes(lambda: burst.ends)
        trio.lowlevel.add_instrument(passes)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use_another)
            nursery.start_soon(burst.wait)
        assert passes.most <= AT_ONCE + 1
        ends_in_a_row = max(len(ends) for ends in " ".join(burst.events).split("submitted"))
        assert ends_in_a_row <= 4 * AT_ONCE * len("end ")


async def test_notices_come_first(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        await burst.wait()
        # Those of the last pass were nobody's to wait for.
        assert burst.reaped_before <= AT_ONCE


class Steps(trio.abc.Instrument):
    """Counts how often tasks run whose names begin with a prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name.startswith(self.prefix)


async def test_a_notice_of_a_crowd_needs_no_turn_of_its_gathering(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        steps = Steps("room-")
        trio.lowlevel.add_instrument(steps)
        before: list[int] = []
        burst.clients[-1].on_close = lambda: before.append(steps.count)
        await burst.wait()
        # The first ones find out whether anybody has said anything.
        assert before[0] <= 5 * AT_ONCE
        await wait_all_tasks_blocked()
        assert burst.reaped == MANY


@pytest.mark.parametrize("rule", ["idle", "max_age"])
async def test_what_is_under_way_at_the_end_of_many_is_answered_first(
    rule: str, autojump_clock: MockClock
) -> None:
    """A commit that the store takes long for, and what lies unread, whatever ends them."""
    settings: HallOptions = {"idle_timeout": 10.0} if rule == "idle" else {"max_age": 10.0}
    async with (
        trio.open_nursery() as writers,
        open_hall(store=slow_store(nursery=writers), **settings) as hall,
    ):
        burst = Burst(hall)
        for number, client in enumerate(burst.clients):
            client.membership = await hall.join(f"room-{number}", client)
        opened_at = trio.current_time()
        for client in burst.clients[1::3]:
            client.unread = [Fetch("unread", 0)]
        await trio.sleep(9.5)
        for client in burst.clients[::3]:
            assert client.membership is not None
            client.membership.deliver_nowait(Sync("last", 0, (Op.of({"n": 1}),)))
        await burst.wait()
        for client in burst.clients[::3]:
            assert [type(message) for message in told(client)][-2:] == [Synced, Dispersed]
        for client in burst.clients[1::3]:
            assert [type(message) for message in told(client)][-2:] == [Fetched, Dispersed]
        if rule == "max_age":
            ends = {client.closed[0][0] - opened_at for client in burst.clients[1::3]}
            assert ends == {10.0}


def told(client: Recorder) -> list[ServerMessage]:
    return [message for _, message in client.received]


class Failing(Gathering):
    """One of a crowd that fails where its notice is given."""

    def at_work(self) -> str | None:
        if self.room.id == "room-30":
            raise RuntimeError("on purpose")
        return super().at_work()


async def test_one_that_fails_among_many_crashes_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        hall._registry.make_gathering = Failing
        burst = Burst(hall)
        await burst.join()
        await burst.wait()
        reasons = [client.closed[0][2] for client in burst.clients]
        assert [number for number, why in enumerate(reasons) if why == "crashed"] == [30]
        assert set(reasons) == {"idle", "crashed"}
    assert [record.message for record in caplog.records] == ["gathering crashed"]


async def test_a_join_does_not_wait_until_all_others_are_reaped(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall, 2 * MANY)
        await burst.join()
        await burst.clients[0].wait_closed()
        again = Recorder()
        await hall.join("room-0", again)
        assert burst.reaped < MANY
        assert trio.current_time() == burst.due


async def test_a_message_to_one_that_waits_for_its_turn_keeps_it_open(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        *others, last = burst.clients

        def say_something() -> None:
            assert last.membership is not None
            last.membership.deliver_nowait(Fetch("late", 0))

        burst.on_first = say_something
        for client in others:
            await client.wait_closed()
        await wait_all_tasks_blocked()
        assert not last.closed
        await last.wait_closed()
        assert last.closed[0][0] == burst.due + 10


async def test_what_lies_unread_keeps_those_open_that_are_late(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        for client in burst.clients[::3]:
            client.unread = [Fetch("unread", 0)]
        # As if the machine had slept.
        autojump_clock.jump(24.0)
        await burst.wait()
        closed = [client.closed[0][0] - burst.due for client in burst.clients]
        assert set(closed[::3]) == {24.0}
        assert set(closed[1::3] + closed[2::3]) == {14.0}


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_the_hall_ends_while_many_wait_for_their_turns(
    how: str, autojump_clock: MockClock
) -> None:
    with trio.CancelScope() as scope:
        async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
            burst = Burst(hall)
            await burst.join()
            await burst.clients[0].wait_closed()
            if how == "cancelled":
                scope.cancel()
    assert trio.current_time() == burst.due
    reasons = [client.closed[0][2] for client in burst.clients]
    assert {len(client.of(Dispersed)) for client in burst.clients} == {1}
    assert set(reasons) == {"idle", "shutdown"}
    assert burst.reaped == MANY


async def test_one_that_is_used_all_the_time_is_not_in_the_way(autojump_clock: MockClock) -> None:
    """Those that were used meanwhile are put back; those behind them are on time."""
    async with open_hall(store=MemoryStore(), idle_timeout=10.0) as hall:
        burst = Burst(hall)
        await burst.join()
        await trio.sleep(1)
        last = Watched(lambda: None)
        last.membership = await hall.join("last", last)
        await trio.sleep(4)
        for client in burst.clients:
            assert client.membership is not None
            client.membership.deliver_nowait(Fetch("used", 0))
        await last.wait_closed()
        assert last.closed[0][0] == burst.due + 1
        await burst.wait()
        assert {client.closed[0][0] for client in burst.clients} == {burst.due + 5}


# The turnstile alone.


@define(eq=False)
class Waiter:
    """Waits until it is due, and notes when its wait ended."""

    turnstile: Turnstile
    wakes_at: float
    fired_at: float | None = None
    scope: trio.CancelScope | None = None
    listed_at: float | None = None
    weight: int = 1
    can_part: bool = False
    id: str = field(factory=lambda: f"waiter {next(NUMBERS)}")

    @property
    def waits(self) -> bool:
        return self.scope is not None

    def arm(self, at: float) -> None:
        assert self.scope is not None
        self.scope.deadline = at

    def disarm(self) -> None:
        assert self.scope is not None
        self.scope.deadline = math.inf

    def part(self, fired: list["Waiter"]) -> Callable[[], None] | None:
        if not self.can_part or self.scope is None or self.wakes_at > trio.current_time():
            return None
        self._fire(fired)
        return self.scope.cancel

    def _fire(self, fired: list["Waiter"]) -> None:
        self.fired_at = trio.current_time()
        fired.append(self)

    async def run(self, fired: list["Waiter"]) -> None:
        while self.wakes_at > trio.current_time():
            with trio.move_on_at(self.turnstile.enter(self, self.wakes_at)) as self.scope:
                await trio.sleep_forever()
            self.scope = None
            self.turnstile.leave(self)
        if self.fired_at is None:
            with self.turnstile.turn(self):
                self._fire(fired)
        await self.turnstile.wait_to_go(self)
        self.turnstile.forget(self)


@settings(max_examples=examples(60), deadline=None)
@given(
    due=st.lists(st.integers(1, 4), min_size=1, max_size=3 * AT_ONCE),
    moves=st.lists(
        st.tuples(st.integers(0, 3 * AT_ONCE), st.integers(0, 3), st.integers(-3, 3)), max_size=40
    ),
    parts=st.integers(0, 2 ** (3 * AT_ONCE) - 1),
)
def test_each_is_due_when_it_says(
    due: list[int], moves: list[tuple[int, int, int]], parts: int
) -> None:
    """However the times move, each fires exactly then, and few in one of Trio's passes."""

    async def main() -> None:
        start = trio.current_time()
        fired: list[Waiter] = []
        passes = Passes(lambda: len(fired))
        trio.lowlevel.add_instrument(passes)
        async with trio.open_nursery() as nursery:

            def part(one: Waiting) -> Callable[[], None] | None:
                assert isinstance(one, Waiter)
                return one.part(fired)

            turnstile = Turnstile(nursery, part)
            waiters = [Waiter(turnstile, start + seconds) for seconds in due]
            for number, waiter in enumerate(waiters):
                waiter.can_part = bool(parts >> number & 1)
            for waiter in waiters:
                nursery.start_soon(waiter.run, fired)
            await wait_all_tasks_blocked()
            for which, after, by in sorted(moves, key=lambda move: move[1]):
                await trio.sleep_until(start + after + 0.5)
                await wait_all_tasks_blocked()
                waiter = waiters[which % len(waiters)]
                if waiter.fired_at is None:
                    at = max(waiter.wakes_at + by, trio.current_time())
                    sooner, waiter.wakes_at = at < waiter.wakes_at, at
                    if sooner:
                        turnstile.hasten(waiter, at)
        assert all(waiter.fired_at == waiter.wakes_at for waiter in waiters)
        assert passes.most <= AT_ONCE + 1
        assert not turnstile.knows_anybody

    trio.run(main, clock=MockClock(autojump_threshold=0))
