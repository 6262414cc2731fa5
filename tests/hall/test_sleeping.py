"""Sleeping: what leaves memory, what wakes it, and that it ends as exactly as one that's awake."""

import gc
import math
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.instants import LOOK_AGAIN
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._open_hall import open_hall
from squire_gatherings._rules.behaviour import LogBehaviour
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.sqlite.store import open_sqlite_store
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringCrashed, GatheringDispersed, StoreUnavailable
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.log import LoggedOp, Restored
from squire_gatherings._values.messages import (
    Ack,
    Dispersed,
    Ending,
    Error,
    Fetch,
    Fetched,
    Forward,
    Joined,
    Leave,
    PresenceUpdate,
    Refresh,
    Refreshed,
    Sync,
    Synced,
)
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.op import Op
from tests.stores.chained import Chain
from tests.support import Recorder

ROOM = "friday-night"


class Loads(MemoryStore):
    """A store that counts restores, and may take time for them, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.delay = 0.0
        self.failing = False

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        await trio.sleep(self.delay)
        if self.failing:
            raise StoreUnavailable("away")
        self.loads += 1
        return await super().load(gathering, recent_syncs=recent_syncs)


class Reading(Recorder):
    """A connection with messages that have arrived and that nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.membership: Membership | None = None
        self.unread: list[Any] = []

    def read_arrived(self) -> None:
        unread, self.unread = self.unread, []
        for message in unread:
            assert self.membership is not None
            self.membership.deliver_nowait(message)


def sync(name: str, base: int = 0) -> Sync:
    return Sync(name, base, (Op.of({"n": name}),))


def stage(hall: Hall, gathering: str = ROOM) -> Stage | None:
    seen = observer_of(hall).gathering(gathering)
    return None if seen is None else seen.stage


# Falling asleep, and waking.


async def test_one_that_nobody_uses_falls_asleep(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), sleep_after=10.0, idle_timeout=100.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        room = weakref.ref(hall._registry.living[ROOM].room)
        await trio.sleep(6)
        membership.deliver_nowait(Fetch("f"))
        await trio.sleep(9.5)
        assert stage(hall) is Stage.OPEN
        before = hall.explain(ROOM)
        numbers = hall.snapshot().gatherings
        await trio.sleep(1)
        assert stage(hall) is Stage.ASLEEP
        gc.collect()
        assert room() is None
        after = hall.explain(ROOM)
        for name in ("incarnation", "deadline", "rule", "ends", "moved", "clients", "rules"):
            assert getattr(after, name) == getattr(before, name)
        assert hall.snapshot().gatherings == numbers
        assert hall.gatherings() == (ROOM,)
        assert not client.closed
        # The hall's own, and the one that watches over all that sleep.
        assert len(hall._registry.nursery.child_tasks) == 2


async def test_a_message_wakes_it_and_is_answered(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author, client="a")
        member = await hall.join(ROOM, other, client="b")
        membership.deliver_nowait(sync("one"))
        await other.wait_for(Forward)
        member.deliver_nowait(Ack(1))
        await trio.sleep(50)
        assert stage(hall) is Stage.ASLEEP
        incarnation = hall.explain(ROOM).incarnation
        store.delay = 0.5
        for number in range(2, 6):
            membership.deliver_nowait(sync(f"n{number}", 1))
        await author.wait_for(Synced, 5)
        assert store.loads == 2
        assert [one[1] for one in other.forwards()] == [1, 2, 3, 4, 5]
        assert [one.id for one in author.of(Synced)] == ["one", "n2", "n3", "n4", "n5"]
        assert hall.explain(ROOM).incarnation == incarnation
        # They counted when they were processed.
        assert hall.explain(ROOM).deadline == trio.current_time() + 100
        member.deliver_nowait(Ack(5))
        await trio.sleep(10)
        await wait_all_tasks_blocked()
        assert stage(hall) is Stage.ASLEEP


@pytest.mark.parametrize("how", ["join", "resume", "submit", "fetch", "open"])
async def test_whoever_wants_its_log_wakes_it(how: str, autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, idle_timeout=100.0) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        incarnation = hall.explain(ROOM).incarnation
        assert await hall.evict(ROOM)
        client = Recorder()
        calls: dict[str, Callable[[], Any]] = {
            "join": lambda: hall.join(ROOM, client),
            "resume": lambda: hall.join(ROOM, client, since=1, resume=incarnation),
            "submit": lambda: hall.submit(ROOM, [{"n": 2}]),
            "fetch": lambda: hall.fetch(ROOM),
            "open": lambda: hall.open(ROOM),
        }
        await calls[how]()
        assert store.loads == 2
        assert stage(hall) is Stage.OPEN
        assert hall.explain(ROOM).incarnation == incarnation
        for joined in client.of(Joined):
            assert (joined.incarnation, joined.seq) == (incarnation, 1)


async def test_it_waits_until_everything_is_acknowledged(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), sleep_after=1.0, retry_limit=30.0) as hall:
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        member = await hall.join(ROOM, other)
        membership.deliver_nowait(sync("one"))
        await trio.sleep(20)
        assert stage(hall) is Stage.OPEN
        member.deliver_nowait(Ack(1))
        await trio.sleep(2.5)
        assert stage(hall) is Stage.ASLEEP


async def test_it_waits_for_joins_that_read_the_store(autojump_clock: MockClock) -> None:
    class Slow(Loads):
        pause = 0.0

        async def read(self, gathering: str, **what: Any) -> tuple[LoggedOp, ...]:
            await trio.sleep(self.pause)
            return await super().read(gathering, **what)

    store = Slow()
    async with open_hall(store=store, sleep_after=5.0, idle_timeout=100.0, tail_bytes=1) as hall:
        await hall.submit(ROOM, [{"n": "x" * 100}])
        await hall.submit(ROOM, [{"n": "y" * 100}])
        store.pause = 20.0
        joined = trio.current_time()
        client = Recorder()
        await hall.join(ROOM, client, since=0)
        assert trio.current_time() >= joined + 20
        assert len(client.received) == 1
        # It hasn't slept meanwhile.
        assert store.loads == 1


async def test_a_client_that_leaves_lets_it_sleep_on(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(
        store=store, sleep_after=10.0, idle_timeout=1000.0, empty_timeout=100.0
    ) as hall:
        membership = await hall.join(ROOM, Recorder())
        other = await hall.join(ROOM, Recorder())
        await trio.sleep(50)
        membership.detach()
        assert hall.explain(ROOM).clients == 1
        assert hall.snapshot().clients == 1
        await trio.sleep(50)
        other.detach()
        assert stage(hall) is Stage.ASLEEP
        explained = hall.explain(ROOM)
        assert (explained.clients, explained.deadline) == (0, trio.current_time() + 100)
        assert hall._registry.quotas.users.total == 0
        await trio.sleep(100)
        await wait_all_tasks_blocked()
        assert hall.gatherings() == ()
        assert hall.snapshot().dispersed == {"empty": 1}
        assert store.loads == 1


async def test_a_leave_wakes_it(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), sleep_after=10.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await trio.sleep(50)
        membership.deliver_nowait(Leave())
        await client.wait_closed()
        assert client.closed[0][1] == CloseCode.LEFT


# Evicting.


@pytest.mark.parametrize("connections", ["keep", "close"])
async def test_evict(connections: Any, autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), idle_timeout=100.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        membership.deliver_nowait(sync("one"))
        assert await hall.evict(ROOM, connections)
        assert stage(hall) is Stage.ASLEEP
        assert len(client.of(Synced)) == (1 if connections == "keep" else 0)
        assert [one[1:] for one in client.closed] == (
            [] if connections == "keep" else [(CloseCode.GOING_AWAY, "evicted")]
        )
        assert await hall.evict(ROOM, connections)
        assert not await hall.evict("nobody")
        with pytest.raises(ValueError, match="connections"):
            await hall.evict(ROOM, "drop")  # type: ignore[arg-type]
        assert (await hall.fetch(ROOM)).seq == 1
        await trio.sleep(50)
        assert stage(hall) is Stage.OPEN


async def test_evict_waits_until_all_is_acknowledged(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        member = await hall.join(ROOM, other)
        membership.deliver_nowait(sync("one"))
        await other.wait_for(Forward)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hall.evict, ROOM)
            await trio.sleep(1)
            assert stage(hall) is Stage.OPEN
            member.deliver_nowait(Ack(1))
        assert stage(hall) is Stage.ASLEEP


async def test_evict_that_is_cancelled_has_begun(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        author, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, author)
        member = await hall.join(ROOM, other)
        membership.deliver_nowait(sync("one"))
        await other.wait_for(Forward)
        with trio.move_on_after(1):
            await hall.evict(ROOM)
        member.deliver_nowait(Ack(1))
        await trio.sleep(1)
        assert stage(hall) is Stage.ASLEEP


# Its end.


@pytest.mark.parametrize("clients", [0, 1, 3, 300])
async def test_it_ends_at_its_instant_and_is_not_restored(
    clients: int, autojump_clock: MockClock
) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        recorders = [Recorder() for _ in range(clients)]
        for recorder in recorders:
            await hall.join(ROOM, recorder, since=1)
        explained = hall.explain(ROOM)
        await trio.sleep_until(explained.deadline)
        await wait_all_tasks_blocked()
        assert stage(hall) is None
        for recorder in recorders:
            [notice] = recorder.of(Dispersed)
            assert notice == Dispersed(ROOM, explained.incarnation, "idle", 1, 100.0)
            assert recorder.closed == [(explained.deadline, CloseCode.DISPERSED, "idle")]
        [ended] = observer_of(hall).endings(10)
        assert (ended.lateness, ended.lifetime, ended.seq) == (0.0, 100.0, 1)
        assert ended.processed == 1 + clients
        assert store.loads == 1
        assert not hall._registry.turnstile.knows_anybody
        assert set(observer_of(hall).stages.values()) == {0}


async def test_many_end_at_the_same_instant(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        recorders = [Recorder() for _ in range(300)]
        for number, recorder in enumerate(recorders):
            await hall.join(f"{ROOM}-{number}", recorder)
        due = trio.current_time() + 100
        await trio.sleep_until(due)
        await wait_all_tasks_blocked()
        assert {recorder.closed[0][0] for recorder in recorders} == {due}
        assert hall.snapshot().dispersed == {"idle": 300}
        assert store.loads == 300
        assert hall._registry.sleepers.count == 0


async def test_every_rule_ends_it(autojump_clock: MockClock) -> None:
    wall = 1000.0

    def wall_clock() -> float:
        return wall + trio.current_time()

    async with open_hall(store=MemoryStore(), wall_clock=wall_clock, sleep_after=5.0) as hall:
        start = trio.current_time()
        rules = {
            "max_age": EndRules(max_age=50.0),
            "ends_at": EndRules(ends_at=wall_clock() + 60.0),
            "alone": EndRules(alone_timeout=70.0),
            "unjoined": EndRules(unjoined_timeout=80.0),
            "empty": EndRules(empty_timeout=90.0),
            "idle": EndRules(idle_timeout=100.0),
        }
        for name, one in rules.items():
            await hall.open(name, one)
        await hall.join("alone", Recorder())
        await trio.sleep(40)
        assert {stage(hall, name) for name in rules} == {Stage.ASLEEP}
        await trio.sleep_until(start + 200)
        ends = {one.gathering: one for one in observer_of(hall).endings(10)}
        for name, after in zip(rules, range(50, 110, 10), strict=True):
            assert (ends[name].reason, ends[name].lateness) == (name, 0.0)
            assert ends[name].lifetime == after


async def test_the_wall_clock_is_set_while_it_sleeps(autojump_clock: MockClock) -> None:
    wall = 1000.0

    def wall_clock() -> float:
        return wall + trio.current_time()

    async with open_hall(store=MemoryStore(), wall_clock=wall_clock, sleep_after=5.0) as hall:
        await hall.open(ROOM, EndRules(ends_at=wall_clock() + 300.0))
        start = trio.current_time()
        await trio.sleep(10)
        assert stage(hall) is Stage.ASLEEP
        wall += 100.0
        await trio.sleep(LOOK_AGAIN)
        assert hall.explain(ROOM).deadline == start + 200
        await trio.sleep_until(start + 200)
        await wait_all_tasks_blocked()
        assert stage(hall) is None
        assert observer_of(hall).endings(1)[0].lateness == 0.0


async def test_what_arrived_before_the_end_is_heard(autojump_clock: MockClock) -> None:
    """As if the machine had slept: the timer is late, and so is everybody who reads."""
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        heard, unheard = Reading(), Reading()
        heard.membership = await hall.join(ROOM, heard)
        unheard.membership = await hall.join("another", unheard)
        due = trio.current_time() + 100
        await trio.sleep(50)
        heard.unread = [sync("late")]
        autojump_clock.jump(90.0)
        await heard.wait_for(Synced)
        assert unheard.closed[0][0] == due + 40
        assert observer_of(hall).endings(10)[0].lateness == 40.0
        await heard.wait_closed()
        assert heard.closed[0][0] == due + 140
        assert store.loads == 3


async def test_a_final_end_hears_what_arrived(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore(), sleep_after=10.0, max_age=100.0) as hall:
        client = Reading()
        client.membership = await hall.join(ROOM, client)
        due = trio.current_time() + 100
        await trio.sleep(50)
        client.unread = [sync("late")]
        await client.wait_closed()
        assert client.closed == [(due, CloseCode.DISPERSED, "max_age")]
        assert [one.id for one in client.of(Synced)] == ["late"]
        assert client.of(Dispersed)[0].seq == 1


async def test_it_warns_its_clients(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(
        store=store, sleep_after=10.0, idle_timeout=100.0, warn_before=20.0
    ) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        start = trio.current_time()
        await trio.sleep(90)
        assert stage(hall) is Stage.ASLEEP
        assert [(at, one.expires_in) for at, one in client.received if isinstance(one, Ending)] == [
            (start + 80, 20.0)
        ]
        membership.deliver_nowait(Fetch("f"))
        await client.wait_for(Ending, 2)
        assert client.of(Ending)[1].expires_in is None
        await trio.sleep_until(start + 190)
        await wait_all_tasks_blocked()
        assert store.loads == 2
        assert client.closed[0][0] == start + 190


# What operators and programs ask.


async def test_its_rules_change_while_it_sleeps(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        client = Recorder()
        await hall.join(ROOM, client)
        start = trio.current_time()
        await trio.sleep(50)
        assert hall.extend(ROOM, 30.0, by="sam").deadline == start + 130
        assert hall.hold(ROOM, until=time.time() + 1e6, by="sam").moved.what == "hold"
        assert hall.hold(ROOM, until=None).deadline == start + 130
        assert hall.change_rules(ROOM, idle_timeout=200.0).deadline == start + 200
        assert hall.warn(ROOM).warned
        assert len(client.of(Ending)) == 1
        assert hall.change_rules(ROOM, idle_timeout=60.0).deadline == start + 130
        assert stage(hall) is Stage.ASLEEP
        await client.wait_closed()
        assert client.closed[0][0] == start + 130
        assert store.loads == 1


@pytest.mark.parametrize("how", ["disperse", "delete", "close", "stalest"])
async def test_it_is_ended(how: str, autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(
        store=store, sleep_after=10.0, max_gatherings=1, when_full="stalest"
    ) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        membership.deliver_nowait(sync("one"))
        await trio.sleep(50)
        assert stage(hall) is Stage.ASLEEP
        if how == "disperse":
            assert await hall.disperse(ROOM)
        elif how == "delete":
            await hall.logs.delete(ROOM)
        elif how == "close":
            await hall.close()
        else:
            membership.detach()
            await hall.open("another")
        reason = {"disperse": "admin", "delete": "admin", "close": "shutdown"}.get(how, "evicted")
        # What sleeps when the hall is closed goes on in the next one.
        assert hall.snapshot().dispersed == ({reason: 1} if how != "close" else {})
        assert [one.reason for one in client.of(Dispersed)] == (
            [reason] if how != "stalest" else []
        )
        assert stage(hall) is None
        assert store.loads == (2 if how == "stalest" else 1)


async def test_a_cancelled_hall_says_goodbye(autojump_clock: MockClock) -> None:
    client = Recorder()
    with trio.CancelScope() as scope:
        async with open_hall(store=MemoryStore(), sleep_after=10.0) as hall:
            await hall.join(ROOM, client)
            await trio.sleep(50)
            assert stage(hall) is Stage.ASLEEP
            scope.cancel()
    assert [one.reason for one in client.of(Dispersed)] == ["shutdown"]
    assert client.closed[0][1] == CloseCode.GOING_AWAY


async def test_rights_change_while_it_sleeps(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0) as hall:
        ann, bob = Recorder(), Recorder()
        await hall.join(ROOM, ann, identity=Identity("ann"))
        member = await hall.join(ROOM, bob, identity=Identity("bob"))
        await trio.sleep(50)
        assert hall.kick("ann") == 1
        assert ann.closed[0][1] == CloseCode.UNAUTHORIZED
        assert hall.change_role("bob", "observer") == 1
        assert [one.role for one in bob.of(Refreshed)] == ["observer"]
        assert stage(hall) is Stage.ASLEEP
        assert store.loads == 1
        member.deliver_nowait(sync("no"))
        [refusal] = await bob.wait_for(Error)
        assert refusal.code == "forbidden"
        await trio.sleep(50)
        assert hall.revoke("bob", until=math.inf) == 1
        assert bob.closed[0][1] == CloseCode.UNAUTHORIZED
        assert hall.explain(ROOM).clients == 0


async def test_rights_end_while_it_sleeps(autojump_clock: MockClock) -> None:
    def wall_clock() -> float:
        return 1000.0 + trio.current_time()

    async with open_hall(
        store=MemoryStore(), wall_clock=wall_clock, sleep_after=10.0, rights_grace=5.0
    ) as hall:
        client = Recorder()
        rights = Identity("ann", expires_at=wall_clock() + 50.0)
        await hall.join(ROOM, client, identity=rights)
        start = trio.current_time()
        await client.wait_closed()
        assert client.closed == [(start + 55.0, CloseCode.UNAUTHORIZED, "its rights have ended")]
        assert stage(hall) is Stage.ASLEEP


async def test_rights_that_have_just_ended_say_nothing_while_it_sleeps(
    autojump_clock: MockClock,
) -> None:
    """The wall clock is set: what looks after rights hasn't seen it yet."""
    wall = [1000.0]
    async with open_hall(
        store=MemoryStore(), wall_clock=lambda: wall[0], sleep_after=10.0, presence=True
    ) as hall:
        client = Recorder()
        rights = Identity("ann", expires_at=2000.0)
        membership = await hall.join(ROOM, client, identity=rights, presence={"at": 1})
        await trio.sleep(50)
        assert stage(hall) is Stage.ASLEEP
        wall[0] = 2000.0
        membership.deliver_nowait(PresenceUpdate("p", Op.of({"at": 2})))
        await trio.sleep(1)
        assert [(one.id, one.code) for one in client.of(Error)] == [("p", "unauthorized")]
        assert not hall.presence(ROOM).users


async def test_its_events_go_on(autojump_clock: MockClock) -> None:
    told: list[LifecycleEvent] = []

    async def on_event(event: LifecycleEvent) -> None:
        told.append(event)

    async with open_hall(
        store=MemoryStore(),
        on_event=on_event,
        sleep_after=10.0,
        idle_timeout=100.0,
        warn_before=20.0,
    ) as hall:
        membership = await hall.join(ROOM, Recorder())
        await trio.sleep(50)
        assert stage(hall) is Stage.ASLEEP
        membership.detach()
        await trio.sleep(100)
        kinds = [event.kind for event in told]
        assert kinds == [
            EventKind.OPENED,
            EventKind.JOINED_FIRST,
            EventKind.EMPTIED,
            EventKind.ENDING,
            EventKind.DISPERSED,
        ]
        assert len({event.id for event in told}) == 5
        last = told[-1].data
        assert (last["reason"], last["lateness"], last["lifetime"]) == ("idle", 0.0, 100.0)
        assert hall._registry.lifecycle is not None
        assert hall._registry.lifecycle.owed == 0


# When the store fails.


async def test_a_store_that_fails_is_told_to_the_sender(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=200.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        due = trio.current_time() + 200
        await trio.sleep(50)
        store.failing, store.delay = True, 1.0
        membership.deliver_nowait(sync("one"))
        membership.deliver_nowait(Fetch("f"))
        await client.wait_for(Error, 2)
        assert [(one.id, one.code) for one in client.of(Error)] == [
            ("one", "store_unavailable"),
            ("f", "store_unavailable"),
        ]
        with pytest.raises(StoreUnavailable):
            await hall.submit(ROOM, [{"n": 1}])
        with pytest.raises(StoreUnavailable):
            await hall.join(ROOM, Recorder())
        await wait_all_tasks_blocked()
        assert stage(hall) is Stage.ASLEEP
        assert hall.explain(ROOM).deadline == due
        store.failing = False
        membership.deliver_nowait(sync("one"))
        [synced] = await client.wait_for(Synced)
        assert synced.seqs == (1,)
        assert store.loads == 2


async def test_what_needs_no_log_needs_no_store(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0) as hall:
        client, other = Recorder(), Recorder()
        membership = await hall.join(ROOM, client)
        member = await hall.join(ROOM, other)
        await trio.sleep(50)
        store.failing = True
        membership.deliver_nowait(Leave())
        await client.wait_closed()
        assert client.closed[0][1] == CloseCode.LEFT
        member.deliver_nowait(Ack(0))
        await wait_all_tasks_blocked()
        assert not client.of(Error) + other.of(Error)
        assert stage(hall) is Stage.ASLEEP
        assert hall.explain(ROOM).clients == 1


async def test_it_ends_in_time_while_the_store_hangs(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0, idle_timeout=100.0) as hall:
        client = Recorder()
        await hall.join(ROOM, client)
        due = trio.current_time() + 100
        incarnation = hall.explain(ROOM).incarnation
        await trio.sleep(50)
        store.delay = 1000.0
        late = Recorder()
        async with trio.open_nursery() as nursery:

            async def come_back() -> None:
                # That is no activity.
                await hall.join(ROOM, late, since=0, resume=incarnation)

            nursery.start_soon(come_back)
            await client.wait_closed()
            assert client.closed == [(due, CloseCode.DISPERSED, "idle")]
            nursery.cancel_scope.cancel()


async def test_one_that_cannot_be_restored_crashes(autojump_clock: MockClock) -> None:
    broken = False

    class Broken(LogBehaviour):
        def fold(self, *args: Any) -> None:
            if broken:
                raise ValueError("bad op")
            super().fold(*args)

    async with open_hall(store=MemoryStore(), behaviour=Broken, sleep_after=10.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        membership.deliver_nowait(sync("one"))
        await trio.sleep(50)
        broken = True
        membership.deliver_nowait(Fetch("f"))
        await client.wait_closed()
        assert client.closed[0][1] == CloseCode.CRASHED
        assert client.of(Dispersed)[0].seq == 1
        with pytest.raises(GatheringCrashed):
            await hall.fetch(ROOM)


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_log_that_was_changed_beside_it(noticed: bool, autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(store=store, sleep_after=10.0) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        membership.deliver_nowait(sync("one"))
        await trio.sleep(50)
        assert await hall.logs.look() == ()
        await store.delete(ROOM, time=1)
        if noticed:
            assert await hall.logs.look() == (ROOM,)
        else:
            membership.deliver_nowait(Fetch("f"))
        await client.wait_closed()
        assert client.closed[0][2] == "admin"
        assert not client.of(Fetched)


@pytest.mark.parametrize("how", ["look", "wake", "start"])
async def test_a_log_that_was_replaced_by_one_as_long(how: str, tmp_path: Path) -> None:
    """It is noticed when somebody looks, at the latest when the gathering wakes."""
    with trio.fail_after(60):
        async with open_sqlite_store(tmp_path / "rooms.sqlite3") as store:
            async with open_hall(store=store) as hall:
                client = Recorder()
                membership = await hall.join(ROOM, client)
                membership.deliver_nowait(sync("one"))
                await client.wait_for(Synced)
                membership.deliver_nowait(Ack(1))
                for name in (ROOM, "empty"):
                    await hall.open(name)
                    assert await hall.evict(name)
                if how == "start":
                    await hall.close()
                assert await hall.logs.look() == ()
                deleted = await store.delete(ROOM, time=1)
                assert deleted is not None
                await store.append(Chain(ROOM, head=deleted.head).append(1))
                if how == "look":
                    assert await hall.logs.look() == (ROOM,)
                elif how == "wake":
                    membership.deliver_nowait(Fetch("f"))
                await client.wait_closed()
                said = "shutdown" if how == "start" else "admin"
                assert [one.reason for one in client.of(Dispersed)] == [said]
                assert not client.of(Fetched)
            async with open_hall(store=store) as hall:
                assert hall.gatherings() == ("empty",)


@pytest.mark.parametrize("sleeps", [False, True])
async def test_a_log_that_was_taken_in_beside_an_empty_one(sleeps: bool, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            open_sqlite_store(tmp_path / "rooms.sqlite3") as store,
            open_hall(store=store) as hall,
        ):
            client, other = Recorder(), Recorder()
            await hall.join(ROOM, client)
            membership = await hall.join("other", other)
            membership.deliver_nowait(sync("one"))
            await other.wait_for(Synced)
            if sleeps:
                assert await hall.evict(ROOM)
            assert await hall.logs.look() == ()
            await store.append(Chain(ROOM).append(1))
            assert await hall.logs.look() == (ROOM,)
            await client.wait_closed()
            assert [one.reason for one in client.of(Dispersed)] == ["admin"]
            assert await hall.logs.look() == ()
            await hall.join(ROOM, again := Recorder())
            assert again.of(Joined)[0].seq == 1


async def test_a_log_that_was_compacted_beside_it(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            open_sqlite_store(tmp_path / "rooms.sqlite3") as store,
            open_hall(store=store) as hall,
        ):
            client = Recorder()
            membership = await hall.join(ROOM, client)
            for number in range(1, 4):
                membership.deliver_nowait(sync(f"s{number}"))
                await client.wait_for(Synced, number)
            membership.deliver_nowait(Ack(3))
            assert await hall.evict(ROOM)
            for last in (2, 3):
                await store.compact(ROOM, up_to=last, state=b"%d" % last)
                assert await hall.logs.look() == ()
                assert stage(hall) is Stage.ASLEEP
            membership.deliver_nowait(sync("after"))
            assert (await client.wait_for(Synced, 4))[-1].seqs == (4,)


async def test_ops_that_a_client_lacks_are_left_out_beside_it(autojump_clock: MockClock) -> None:
    """It is brought none under other seqs, and the gathering ends as its log was changed."""

    def wall_clock() -> float:
        return 1000.0 + trio.current_time()

    async def authenticate(token: str | None, gathering: str) -> Identity:
        return Identity(token, expires_at=wall_clock() + (50.0 if token == "ann" else 900.0))

    async with open_hall(
        store=Loads(),
        wall_clock=wall_clock,
        authenticate=authenticate,
        sleep_after=10.0,
        rights_grace=900.0,
        tail_bytes=1,
    ) as hall:
        ann, bob = Recorder(), Recorder()
        mute = await hall.join(ROOM, ann, token="ann")
        await trio.sleep(60)
        author = await hall.join(ROOM, bob, token="bob")
        for number in range(5):
            author.deliver_nowait(sync(str(number), base=number))
            await trio.sleep(1)
        await trio.sleep(60)
        assert stage(hall) is Stage.ASLEEP
        await hall._registry.store.compact(ROOM, up_to=3, state=b"3")  # type: ignore[attr-defined]
        mute.deliver_nowait(Refresh("r", "ann"))
        await trio.sleep(1)
        assert not ann.of(Forward)
        assert [one.reason for one in ann.of(Dispersed) + bob.of(Dispersed)] == ["admin"] * 2


async def test_sleep_after_may_be_changed(autojump_clock: MockClock) -> None:
    async with open_hall(store=MemoryStore()) as hall:
        await hall.open(ROOM)
        await trio.sleep(50)
        assert stage(hall) is Stage.OPEN
        hall.change_settings(sleep_after=60.0)
        await trio.sleep(11)
        assert stage(hall) is Stage.ASLEEP
        hall.change_settings(sleep_after=None)
        await hall.fetch(ROOM)
        await trio.sleep(100)
        assert stage(hall) is Stage.OPEN


# The next process.


def wall_clock() -> float:
    return 1000.0 + trio.current_time()


def options(store: MemoryStore, **more: Any) -> dict[str, Any]:
    return {"store": store, "wall_clock": wall_clock, "sleep_after": 10.0, **more}


@pytest.mark.parametrize("told", [False, True])
async def test_the_next_hall_goes_on_with_it(told: bool, autojump_clock: MockClock) -> None:
    events: list[LifecycleEvent] = []

    async def on_event(event: LifecycleEvent) -> None:
        events.append(event)

    more: dict[str, Any] = {"on_event": on_event} if told else {}
    store = Loads()
    client = Recorder()
    async with open_hall(**options(store, idle_timeout=100.0, **more)) as hall:
        await hall.open(ROOM, EndRules(idle_timeout=90.0, max_age=200.0))
        membership = await hall.join(ROOM, client, identity=Identity("ann"))
        membership.deliver_nowait(sync("one"))
        await trio.sleep(50)
        before = hall.explain(ROOM)
    assert [one.reason for one in client.of(Dispersed)] == ["shutdown"]
    assert hall.snapshot().dispersed == {}
    await trio.sleep(20)
    async with open_hall(**options(store, idle_timeout=1.0, **more)) as hall:
        assert stage(hall) is Stage.ASLEEP
        after = hall.explain(ROOM)
        for name in ("incarnation", "deadline", "rule", "opened_at", "rules", "moved"):
            assert getattr(after, name) == getattr(before, name)
        back = Recorder()
        incarnation = before.incarnation
        await hall.join(ROOM, back, since=1, epoch=incarnation, resume=incarnation)
        assert back.of(Joined)[0].incarnation == incarnation
        assert hall.explain(ROOM).deadline == before.deadline
        await back.wait_closed()
        assert back.closed[0][0] == before.deadline
        [ended] = observer_of(hall).endings(10)
        assert (ended.lateness, ended.lifetime) == (0.0, 90.0)
        again = Recorder()
        with pytest.raises(GatheringDispersed):
            await hall.join(ROOM, again, since=1, resume=incarnation)
        assert [one.reason for one in again.of(Dispersed)] == ["idle"]
    assert store._asleep == {}
    kinds = [EventKind.OPENED, EventKind.JOINED_FIRST, EventKind.EMPTIED, EventKind.DISPERSED]
    assert [one.kind for one in events if one.kind is not EventKind.EMPTIED] == (
        [kind for kind in kinds if kind is not EventKind.EMPTIED] if told else []
    )


async def test_what_the_wall_clock_rounds_makes_no_time_negative(autojump_clock: MockClock) -> None:
    store, told = Loads(), list[float]()

    def wall() -> float:
        return 1_800_000_000.0 + trio.current_time()

    for _ in range(20):
        async with open_hall(store=store, wall_clock=wall) as hall:
            await hall.submit(ROOM, [{"n": 1}])
            assert await hall.evict(ROOM)
        async with open_hall(store=store, wall_clock=wall) as hall:
            client = Recorder()
            incarnation = hall.explain(ROOM).incarnation
            await hall.join(ROOM, client, resume=incarnation)
            await hall.disperse(ROOM)
            told += [one.idle_for for one in client.of(Dispersed)]
        await trio.sleep(0.1)
    assert len(told) == 20
    assert min(told) >= 0


async def test_one_whose_instant_has_passed_ends_at_once(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(**options(store, idle_timeout=100.0)) as hall:
        await hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(50)
        deadline = hall.explain(ROOM).deadline
    await trio.sleep_until(deadline + 30)
    async with open_hall(**options(store)) as hall:
        await wait_all_tasks_blocked()
        [ended] = observer_of(hall).endings(10)
        assert (ended.reason, ended.lateness) == ("idle", 30.0)
    assert store.loads == 1


async def test_one_that_woke_is_not_taken_up_again(autojump_clock: MockClock) -> None:
    class Slow(Loads):
        async def write_sleep(self, **what: Any) -> None:
            await trio.sleep(1)
            await super().write_sleep(**what)

    store = Slow()
    async with open_hall(**options(store)) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await trio.sleep(50)
        assert len(store._asleep) == 1
        membership.deliver_nowait(Fetch("f"))
        await client.wait_for(Fetched)
        # Before anything was processed.
        assert store._asleep == {}


async def test_it_wakes_only_when_the_store_knows(autojump_clock: MockClock) -> None:
    class Forgetful(Loads):
        is_full = False

        async def write_sleep(self, **what: Any) -> None:
            await trio.sleep(1)
            if self.is_full:
                raise StoreUnavailable("full")
            await super().write_sleep(**what)

    store = Forgetful()
    async with open_hall(**options(store)) as hall:
        client = Recorder()
        membership = await hall.join(ROOM, client)
        await trio.sleep(50)
        store.is_full = True
        membership.deliver_nowait(sync("one"))
        with trio.fail_after(10):
            [error] = await client.wait_for(Error)
        assert (error.id, error.code) == ("one", "store_unavailable")
        await wait_all_tasks_blocked()
        assert stage(hall) is Stage.ASLEEP
        store.is_full = False
        membership.deliver_nowait(sync("one"))
        await client.wait_for(Synced)
        assert store._asleep == {}


async def test_nobody_is_connected_after_a_restart(autojump_clock: MockClock) -> None:
    store = Loads()
    async with open_hall(**options(store, empty_timeout=100.0, alone_timeout=500.0)) as hall:
        await hall.join(ROOM, Recorder())
        await hall.join(ROOM, Recorder())
        await trio.sleep(50)
    await trio.sleep(70)
    async with open_hall(**options(store)) as hall:
        explained = hall.explain(ROOM)
        assert explained.clients == 0
        assert explained.deadline == trio.current_time() + 100
        assert explained.rule == "empty"


async def test_those_that_slept_by_equal_rules_share_them(autojump_clock: MockClock) -> None:
    """However they came to them: rules are most of what a sleeper takes."""
    store = Loads()
    async with open_hall(**options(store)) as hall:
        for number in range(3):
            await hall.open(f"room-{number}", EndRules(idle_timeout=1000.0))
        hall.change_rules("room-0", max_age=5000.0, warn_before=3.0)
        hall.change_rules("room-1", warn_before=3)
        hall.change_rules("room-1", max_age=5000)
        for number in range(3):
            assert await hall.evict(f"room-{number}")
    async with open_hall(**options(store)) as hall:
        first, second, third = (hall._registry.living[f"room-{number}"] for number in range(3))
        assert isinstance(first, Sleeper)
        assert isinstance(second, Sleeper)
        assert isinstance(third, Sleeper)
        assert first.given is second.given
        assert first.given is not third.given
