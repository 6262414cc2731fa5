"""Whole lives at random against a naive model: never early, exactly on time, by the right rule."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.instants import LOOK_AGAIN
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.errors import GatheringDispersed
from squire_gatherings._values.messages import Ack, Dispersed, Ending
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.settings import HallOptions
from tests.support import Recorder, examples

ROOM = "friday-night"
WALL = 1024.0 * 1024
TIMES = {"empty": "empty_timeout", "unjoined": "unjoined_timeout", "alone": "alone_timeout"}


class Life:
    """What is known of the living incarnation. Nothing is computed before it is asked for."""

    def __init__(self, now: float, rules: EndRules) -> None:
        self.opened_at = now
        self.rules = rules
        self.last = now
        self.extended_to = -math.inf
        self.empty_since: float | None = None
        self.few_since: float | None = None
        self.ever_joined = False

    def ends(self, ahead: float) -> dict[str, float]:
        rules = self.rules
        since = {
            "idle": self.last,
            "empty": self.empty_since,
            "unjoined": None if self.ever_joined else self.empty_since,
            "alone": None if self.few_since is None else max(self.few_since, self.last),
            "max_age": self.opened_at,
        }
        seconds = {
            "idle": rules.idle_timeout,
            **{name: getattr(rules, field) for name, field in TIMES.items()},
            "max_age": rules.max_age,
        }
        ends = {
            name: at + seconds[name]
            for name, at in since.items()
            if at is not None and seconds[name] is not None
        }
        if rules.ends_at is not None:
            ends["ends_at"] = rules.ends_at - ahead
        return ends

    def held_to(self, ahead: float) -> float:
        hold = self.rules.hold_until
        return max(self.extended_to, -math.inf if hold is None else hold - ahead)

    def end(self, ahead: float) -> tuple[float, str]:
        ends = self.ends(ahead)
        which = min(ends, key=lambda name: ends[name])
        return max(ends[which], self.held_to(ahead)), which

    def warned_of(self, ahead: float) -> float:
        """Return the earliest end of which there's a warning."""
        rules = self.rules
        assert rules.warn_before is not None
        shorter = {
            name
            for name, field in {**TIMES, "idle": "idle_timeout", "max_age": "max_age"}.items()
            if (time := getattr(rules, field)) is not None and time <= rules.warn_before
        }
        ends = [at for name, at in self.ends(ahead).items() if name not in shorter]
        return max(min(ends, default=math.inf), self.held_to(ahead))


class World:
    """A hall, its clients, and the model beside it."""

    def __init__(self, hall: Hall, rules: EndRules) -> None:
        self.hall = hall
        self.rules = rules
        self.life: Life | None = None
        self.ahead = WALL
        self.clients: dict[int, tuple[Membership, Recorder]] = {}
        self.ended = 0

    def now(self) -> float:
        return trio.current_time()

    # What happens.

    def used(self) -> None:
        if self.life is None:
            self.life = Life(self.now(), self.rules)
        self.life.last = self.now()

    def count(self) -> None:
        life, clients = self.life, len(self.clients)
        assert life is not None
        life.ever_joined = life.ever_joined or clients > 0
        if clients:
            life.empty_since = None
        elif life.empty_since is None:
            life.empty_since = self.now()
        if clients > life.rules.alone_clients:
            life.few_since = None
        elif life.few_since is None:
            life.few_since = self.now()

    async def join(self, which: int) -> None:
        if which in self.clients:
            self.clients[which][0].deliver_nowait(Ack(0))
            self.used()
            return
        recorder = Recorder()
        self.used()
        membership = await self.hall.join(ROOM, recorder, client=f"client {which}")
        self.clients[which] = membership, recorder
        self.count()

    def leave(self, which: int) -> None:
        if which in self.clients:
            membership, recorder = self.clients.pop(which)
            membership.detach()
            assert not recorder.of(Dispersed)
            self.count()

    async def submit(self) -> None:
        self.used()
        await self.hall.submit(ROOM, [{"n": 1}])
        if not self.clients:
            self.count()
            assert self.life is not None
            self.life.empty_since = self.now()

    async def sleep(self) -> None:
        """Have it fall asleep, after all that it needs for that."""
        if self.life is None:
            assert not await self.hall.evict(ROOM)
            return
        for membership, _ in self.clients.values():
            [numbers] = self.hall.snapshot().gatherings
            membership.deliver_nowait(Ack(numbers.seq))
            self.used()
        assert await self.hall.evict(ROOM)
        seen = observer_of(self.hall).gathering(ROOM)
        assert seen is not None
        assert seen.stage is Stage.ASLEEP

    def change(self, call: Callable[[], Any], **changes: Any) -> None:
        if self.life is None:
            with pytest.raises(GatheringDispersed):
                call()
            return
        call()
        self.life.rules = attrs.evolve(self.life.rules, **changes)
        if self.life.few_since is not None or self.clients:
            if len(self.clients) > self.life.rules.alone_clients:
                self.life.few_since = None
            elif self.life.few_since is None:
                self.life.few_since = self.now()

    def extend(self, seconds: float) -> None:
        at = math.inf if self.life is None else self.life.end(self.ahead)[0]
        self.change(lambda: self.hall.extend(ROOM, seconds))
        if self.life is not None and at < math.inf:
            self.life.extended_to = at + seconds

    async def wait(self, until: float) -> None:
        """Wait, and check that it ends meanwhile if it must, and not otherwise."""
        if self.life is not None:
            at, which = self.life.end(self.ahead)
            # Other rules may end it by an instant that has passed: then it ends at once.
            due = max(at, self.now())
            if due <= until:
                await trio.sleep_until(due)
                await wait_all_tasks_blocked()
                self.check_ended(due, due, which)
        await trio.sleep_until(until)
        await wait_all_tasks_blocked()
        assert (self.life is None) == (self.hall.gatherings() == ())

    async def set_clock(self, ahead: float) -> None:
        """Set the wall clock, and wait until the timers follow it."""
        self.ahead = ahead
        since = self.now()
        await trio.sleep(LOOK_AGAIN)
        await wait_all_tasks_blocked()
        if self.life is not None:
            at, which = self.life.end(self.ahead)
            if at <= self.now():
                self.check_ended(max(at, since), self.now(), which)

    # What must hold.

    def check_ended(self, at: float, latest: float, which: str) -> None:
        assert self.hall.gatherings() == ()
        self.ended += 1
        for _, recorder in self.clients.values():
            [notice] = recorder.of(Dispersed)
            [(closed_at, _, reason)] = recorder.closed
            assert at <= closed_at <= latest
            assert (notice.reason, reason) == (which, which)
            assert recorder.received[-1] == (closed_at, notice)
        self.life = None
        self.clients.clear()

    def check(self) -> None:
        if self.life is None:
            assert self.hall.gatherings() == ()
            return
        explained = self.hall.explain(ROOM)
        at, which = self.life.end(self.ahead)
        ends = self.life.ends(self.ahead)
        assert explained.ends == ends
        assert explained.deadline == at
        assert explained.rule == (None if ends[which] == math.inf else which)
        assert explained.rules == self.life.rules
        assert (explained.held_until is None) == (at == ends[which])
        self.check_warnings()

    def check_warnings(self) -> None:
        """What each client was told last is so; and it was told what it must know."""
        assert self.life is not None
        ends, held_to = self.life.ends(self.ahead), self.life.held_to(self.ahead)
        before = self.life.rules.warn_before
        for _, recorder in self.clients.values():
            told = [(at, one) for at, one in recorder.received if isinstance(one, Ending)]
            if told and told[-1][1].expires_in is not None:
                at, one = told[-1]
                assert at + one.expires_in == max(ends[one.rule], held_to)  # type: ignore[operator]
            if before is not None and self.life.warned_of(self.ahead) - before <= self.now():
                assert told
                at, one = told[-1]
                assert one.expires_in is not None
                assert at + one.expires_in <= self.life.warned_of(self.ahead)


def times(most: int) -> st.SearchStrategy[float]:
    # Halves add up exactly.
    return st.integers(1, 2 * most).map(lambda number: number / 2)


RULES: dict[str, st.SearchStrategy[Any]] = {
    "idle_timeout": times(40) | st.just(math.inf),
    "empty_timeout": st.none() | times(20),
    "unjoined_timeout": st.none() | times(20),
    "alone_timeout": st.none() | times(20),
    "alone_clients": st.integers(1, 3),
    "max_age": st.none() | times(120),
    "warn_before": st.none() | times(20),
}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("submit"), st.just(0)),
        st.tuples(st.just("sleep"), st.just(0)),
        st.tuples(st.just("hold"), st.none() | times(60)),
        st.tuples(st.just("ends at"), st.none() | times(60)),
        st.tuples(st.just("extend"), times(30)),
        st.tuples(st.just("rules"), st.fixed_dictionaries({}, optional=RULES)),
        st.tuples(st.just("set clock"), st.integers(-40, 40)),
        st.tuples(st.just("wait"), times(40)),
        st.tuples(st.just("wait"), st.sampled_from(["until the end", "until shortly before"])),
    ),
    min_size=5,
    max_size=30,
)


@settings(max_examples=examples(180, long=300), deadline=None)
@given(st.fixed_dictionaries(RULES), steps, st.none() | times(20))
def test_it_ends_exactly_when_the_rules_say_so(
    rules: dict[str, Any], plan: list[tuple[str, Any]], sleep_after: float | None
) -> None:
    async def live() -> None:
        world: World

        def wall() -> float:
            return trio.current_time() + world.ahead

        # Nobody acknowledges anything, and nobody is given up for it.
        patient: HallOptions = {
            "retry_interval": math.inf,
            "retry_limit": math.inf,
            "sleep_after": sleep_after,
        }
        async with open_hall(store=MemoryStore(), wall_clock=wall, **patient, **rules) as hall:
            world = World(hall, EndRules(**rules))
            for what, value in plan:
                note(f"{trio.current_time()}: {what} {value}")
                match what:
                    case "join":
                        await world.join(value)
                    case "leave":
                        world.leave(value)
                    case "submit":
                        await world.submit()
                    case "sleep":
                        await world.sleep()
                    case "hold":
                        until = None if value is None else wall() + value
                        world.change(partial(hall.hold, ROOM, until=until), hold_until=until)
                    case "ends at":
                        at = None if value is None else wall() + value
                        world.change(partial(hall.change_rules, ROOM, ends_at=at), ends_at=at)
                    case "extend":
                        world.extend(value)
                    case "rules":
                        world.change(partial(hall.change_rules, ROOM, **value), **value)
                    case "set clock":
                        await world.set_clock(WALL + value)
                    case "wait":
                        seconds = value
                        if isinstance(value, str):
                            end = math.inf
                            if world.life is not None:
                                end = world.life.end(world.ahead)[0] - world.now()
                            shortly = 0.5 if value == "until shortly before" else 0.0
                            seconds = min(max(0.0, end - shortly), 200.0)
                        await world.wait(world.now() + seconds)
                await world.wait(world.now())
                world.check()

    trio.run(live, clock=MockClock(autojump_threshold=0))
