"""Presence: who is told of whom, when, and what it costs and leaves where it isn't used."""

import math
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    BadSetting,
    Connection,
    Hall,
    Identity,
    Membership,
    PresenceView,
    TooBig,
    open_hall,
)
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._open_hall import open_successor
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.identity import ANONYMOUS
from squire_gatherings._values.messages import (
    Dispersed,
    Error,
    Joined,
    Leave,
    Presence,
    PresenceUpdate,
    Refresh,
    Refreshed,
    Sync,
    Synced,
)
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallSettings
from tests.hall.rights import ROOM, a_hall, joined
from tests.handover.moves import Move, move
from tests.present import Watcher
from tests.support import Recorder

TYPES, RESTS = {"typing": True}, {"typing": False}


def update(state: dict[str, Any], name: str = "p") -> PresenceUpdate:
    return PresenceUpdate(name, Op.of(state))


async def come(
    hall: Hall, user: str | None, state: dict[str, Any] | None = None, **more: Any
) -> tuple[Membership, Recorder]:
    """Join as a user, with presence unless `state` is None."""
    recorder = more.pop("recorder", None) or Recorder()
    identity = ANONYMOUS if user is None else Identity(user)
    return await hall.join(ROOM, recorder, identity=identity, presence=state, **more), recorder


def known(recorder: Recorder) -> Watcher:
    return Watcher.of(recorder.of(Presence))


async def settled(seconds: float = 1.0) -> None:
    await trio.sleep(seconds)
    await wait_all_tasks_blocked()


async def test_who_asks_is_shown_and_told(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        alice, alices = await come(hall, "alice", RESTS)
        _, bobs = await come(hall, "bob", {})
        _, nobodys = await come(hall, None, {"ignored": True})
        _, others = await come(hall, "carol")
        await settled()
        for one in (alices, bobs, nobodys):
            assert known(one).states == {"alice": RESTS, "bob": {}}
            assert known(one).counted == (2, 1)
        # `joined` comes first, whatever else there is.
        assert isinstance(bobs.received[0][1], Joined)
        await alice.deliver(update(TYPES))
        await settled()
        assert known(bobs).states == {"alice": TYPES, "bob": {}}
        assert others.of(Presence) == []
        view = hall.presence(ROOM)
        assert {user: one.state for user, one in view.users.items()} == {"alice": TYPES, "bob": {}}
        assert (view.count, view.anonymous) == (2, 1)


async def test_somebody_may_ask_later(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        membership, recorder = await come(hall, "alice")
        await settled()
        await membership.deliver(update(TYPES))
        await settled()
        assert known(recorder).states == {"alice": TYPES}


async def test_where_it_is_off_nobody_is_told(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        membership, recorder = await come(hall, "alice", {"large": "x" * 10_000})
        await membership.deliver(update({}, "p1"))
        await settled()
        [error] = recorder.of(Error)
        assert (error.code, error.id) == ("forbidden", "p1")
        assert recorder.of(Presence) == []
        assert hall.presence(ROOM) == PresenceView()


async def test_a_lost_connection_is_shown_until_it_is_back_or_the_time_is_over(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(presence=True, presence_grace=10.0) as hall:
        _, alices = await come(hall, "alice", {})
        bob, _ = await come(hall, "bob", TYPES, client="b" * 16)
        await settled()
        told = len(alices.of(Presence))
        bob.detach()
        await trio.sleep(9)
        bob, bobs = await come(hall, "bob", TYPES, client="b" * 16)
        await settled(30)
        # Nobody else has noticed, and it knows all anew.
        assert len(alices.of(Presence)) == told
        assert known(bobs).states == {"alice": {}, "bob": TYPES}
        bob.detach()
        gone_at = trio.current_time() + 10
        await settled(30)
        assert [at for at, one in alices.received if isinstance(one, Presence)][told:] == [gone_at]
        assert known(alices).states == {"alice": {}}


async def test_who_leaves_is_gone_at_once(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        _, alices = await come(hall, "alice", {})
        bob, _ = await come(hall, "bob", {})
        await settled()
        await bob.deliver(Leave())
        await settled(0)
        assert known(alices).states == {"alice": {}}


async def test_a_user_is_one_entry_however_many_connections_there_are(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(presence=True) as hall:
        _, alices = await come(hall, "alice", {})
        phone, _ = await come(hall, "bob", TYPES)
        desk, _ = await come(hall, "bob", RESTS)
        await settled()
        [shown] = [one for one in known(alices).users.values() if one.user == "bob"]
        assert (shown.connections, shown.state.value) == (2, RESTS)
        await phone.deliver(update({"on": "phone"}))
        await settled()
        assert known(alices).states["bob"] == {"on": "phone"}
        await phone.deliver(Leave())
        await settled()
        assert known(alices).states["bob"] == RESTS
        await desk.deliver(Leave())
        await settled()
        assert known(alices).states == {"alice": {}}


async def test_who_is_put_out_is_gone_at_once(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        _, alices = await come(hall, "alice", {})
        _, bobs = await come(hall, "bob", {})
        await come(hall, "carol", {})
        await settled()
        hall.kick("bob")
        hall.revoke("carol", until=math.inf)
        await settled(0)
        assert known(alices).states == {"alice": {}}
        assert [code for _, code, _ in bobs.closed] == [CloseCode.UNAUTHORIZED]


async def test_rights_that_end_hide_a_client_until_it_renews_them(
    autojump_clock: MockClock,
) -> None:
    async with a_hall(presence=True, rights_grace=10.0) as (hall, _):
        _, alices = await joined(hall, "alice:member:", presence={})
        bob, bobs = await joined(hall, "bob:member:60", presence=TYPES)
        await trio.sleep_until(60)
        await settled()
        assert known(alices).states == {"alice": {}}
        before = len(bobs.of(Presence))
        _, carols = await joined(hall, "carol:member:", presence={})
        await bob.deliver(update(RESTS, "late"))
        await settled()
        assert [(one.id, one.code) for one in bobs.of(Error)] == [("late", "unauthorized")]
        assert len(bobs.of(Presence)) == before
        await bob.deliver(Refresh("r", "bob:member:"))
        await bobs.wait_for(Refreshed)
        await settled()
        for one in (alices, bobs, carols):
            assert known(one).states == {"alice": {}, "bob": TYPES, "carol": {}}


async def test_presence_is_no_activity(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True, idle_timeout=100.0) as hall:
        membership, recorder = await come(hall, "alice", {})
        before = hall.explain(ROOM)
        for number in range(9):
            await trio.sleep(10)
            await membership.deliver(update({"n": number}))
        await wait_all_tasks_blocked()
        after = hall.explain(ROOM)
        assert (after.deadline, after.moved) == (before.deadline, before.moved)
        await recorder.wait_closed()
        assert trio.current_time() == 100
        [notice] = recorder.of(Dispersed)
        assert (notice.reason, notice.idle_for, notice.seq) == ("idle", 100.0, 0)
        assert hall.presence(ROOM) == PresenceView()


async def test_a_sleeper_sleeps_on_while_its_clients_come_to_know_who_is_there(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(presence=True, sleep_after=10.0, idle_timeout=1000.0) as hall:

        def stage() -> Stage | None:
            seen = observer_of(hall).gathering(ROOM)
            return None if seen is None else seen.stage

        alice, alices = await come(hall, "alice", {})
        bob, bobs = await come(hall, "bob", {})
        carol, _ = await come(hall, "carol", {})
        await trio.sleep(20)
        assert stage() is Stage.ASLEEP
        await bob.deliver(update(TYPES))
        carol.detach()
        await settled(20)
        assert stage() is Stage.ASLEEP
        assert known(alices).states == known(bobs).states == {"alice": {}, "bob": TYPES}
        # What is wrong is told all the same, by the gathering.
        await bob.deliver(update({"large": "x" * 2000}, "large"))
        [error] = await bobs.wait_for(Error)
        assert (error.id, error.code) == ("large", "too_big")
        await trio.sleep(20)
        await alice.deliver(Sync("s", 0, (Op.of({"n": 1}),)))
        await alices.wait_for(Synced)
        await come(hall, "dave", {})
        await settled()
        assert known(alices).states == {"alice": {}, "bob": TYPES, "dave": {}}


async def test_a_slow_reader_gets_what_is_so_when_it_reads_again(
    autojump_clock: MockClock,
) -> None:
    class Slow(Recorder):
        waits = 0

        @property
        def backlog(self) -> int:
            return self.waits

    async with open_hall(presence=True) as hall:
        alice, _ = await come(hall, "alice", {})
        slow = Slow()
        await come(hall, "bob", {}, recorder=slow)
        await settled()
        told = len(slow.of(Presence))
        slow.waits = 100_000
        for number in range(20):
            await alice.deliver(update({"n": number}))
            await settled()
        assert len(slow.of(Presence)) == told
        slow.waits = 0
        await settled()
        [last] = slow.of(Presence)[told:]
        assert isinstance(last.users, tuple)
        assert known(slow).states == {"alice": {"n": 19}, "bob": {}}


async def test_a_state_has_a_limit(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True, presence_bytes=20) as hall:
        with pytest.raises(TooBig):
            await come(hall, "alice", {"text": "x" * 20})
        with pytest.raises(ValueError, match="plain JSON"):
            await come(hall, "alice", {"text": float("nan")})
        assert hall.presence(ROOM) == PresenceView()
        membership, recorder = await come(hall, "alice", {"n": 1})
        await membership.deliver(update({"text": "x" * 20}, "p1"))
        await settled()
        [error] = recorder.of(Error)
        assert (error.code, error.id) == ("too_big", "p1")
        assert known(recorder).states == {"alice": {"n": 1}}


async def test_what_changes_nothing_is_counted_against_its_sender(
    autojump_clock: MockClock,
) -> None:
    class Counting(Recorder):
        cost = 0

        def wasted(self, cost: int) -> None:
            self.cost += cost

    async with open_hall(presence=True) as hall:
        recorder = Counting()
        membership, _ = await come(hall, "alice", {}, recorder=recorder)
        await membership.deliver(update(TYPES))
        await wait_all_tasks_blocked()
        assert recorder.cost == 0
        await membership.deliver(update(TYPES))
        await wait_all_tasks_blocked()
        assert recorder.cost == 1


async def test_it_is_switched_on_or_off_for_good(autojump_clock: MockClock) -> None:
    with pytest.raises(BadSetting, match="presence must be True or False"):
        HallSettings(presence=1)  # type: ignore[arg-type]
    async with open_hall() as hall:
        with pytest.raises(BadSetting, match="presence can't be changed"):
            hall.change_settings(presence=True)


async def test_a_running_hall_takes_over_other_limits(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        membership, recorder = await come(hall, "alice", {})
        hall.change_settings(presence_bytes=2)
        await membership.deliver(update(TYPES))
        await settled()
        assert [one.code for one in recorder.of(Error)] == ["too_big"]


async def test_nothing_is_left_when_all_are_gone(autojump_clock: MockClock) -> None:
    async with open_hall(presence=True) as hall:
        tasks = len(hall._registry.nursery.child_tasks)
        for how in ("leave", "detach", "disperse"):
            alice, _ = await come(hall, "alice", {"n": 1})
            bob, _ = await come(hall, "bob", {})
            assert hall._registry.quotas.budget.presence > 1000
            if how == "leave":
                await alice.deliver(Leave())
                await bob.deliver(Leave())
                await settled()
            elif how == "detach":
                alice.detach()
                bob.detach()
            await hall.disperse(ROOM)
            await wait_all_tasks_blocked()
            assert hall._registry.quotas.budget.presence == 0
            assert len(hall._registry.nursery.child_tasks) == tasks
            assert hall.presence(ROOM) == PresenceView()


async def test_it_goes_on_in_another_process_where_all_sleep(autojump_clock: MockClock) -> None:
    settings = HallSettings(presence=True, presence_grace=0.0)
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        alice, alices = await come(hall, "alice", TYPES)
        bob, bobs = await come(hall, "bob", {})
        connected: dict[Connection, Membership] = {alices: alice, bobs: bob}
        await hall.evict(ROOM)
        going = Move(
            hall, await stack.enter_async_context(open_successor(store=store, settings=settings))
        )
        await going.tell(connected)
        # Nobody is woken for this, and the other process must be told again.
        await bob.deliver(update(RESTS))
        await settled()
        before = known(alices).states
        assert before == {"alice": TYPES, "bob": RESTS}
        memberships = await going.finish(connected)
        hall = going.after
        await settled()
        assert known(alices).states == known(bobs).states == before
        assert hall.presence(ROOM).count == 2
        memberships[bobs].detach()
        await settled()
        assert known(alices).states == {"alice": TYPES}


async def test_it_goes_on_in_another_process(autojump_clock: MockClock) -> None:
    settings = HallSettings(presence=True)
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        phone, phones = await come(hall, "alice", TYPES, client="a" * 16)
        desk, desks = await come(hall, "alice", RESTS, client="c" * 16)
        bob, bobs = await come(hall, "bob", {})
        other, others = await come(hall, "carol")
        await phone.deliver(update({"on": "phone"}))
        await settled()
        before = [known(one).states for one in (phones, desks, bobs)]
        assert before[0]["alice"] == {"on": "phone"}
        connected: dict[Connection, Membership] = {
            phones: phone,
            desks: desk,
            bobs: bob,
            others: other,
        }
        hall, memberships = await move(stack, hall, store, settings, connected)
        await settled()
        assert [known(one).states for one in (phones, desks, bobs)] == before
        await memberships[phones].deliver(Leave())
        await memberships[bobs].deliver(update(TYPES))
        await settled()
        assert known(desks).states == known(bobs).states == {"alice": RESTS, "bob": TYPES}
        assert others.of(Presence) == []


async def test_one_that_sleeps_goes_on_in_another_process(autojump_clock: MockClock) -> None:
    settings = HallSettings(presence=True, sleep_after=5.0, presence_grace=4.0)
    store = MemoryStore()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        alice, alices = await come(hall, "alice", {})
        bob, bobs = await come(hall, "bob", TYPES)
        await settled(20)
        after = await stack.enter_async_context(open_successor(store=store, settings=settings))
        going = Move(hall, after)
        connected: dict[Connection, Membership] = {alices: alice, bobs: bob}
        await going.tell(connected)
        # What changes while it is told is told again, though it sleeps.
        await bob.deliver(update(RESTS))
        await settled(0)
        memberships = await going.finish(connected)
        await settled()
        assert known(alices).states == known(bobs).states == {"alice": {}, "bob": RESTS}
        seen = observer_of(after).gathering(ROOM)
        assert seen is not None
        assert seen.stage is Stage.ASLEEP
        await memberships[bobs].deliver(update(TYPES))
        await settled()
        assert known(alices).states == {"alice": {}, "bob": TYPES}


async def test_a_crowd_that_comes_and_goes_is_told_little(autojump_clock: MockClock) -> None:
    crowd, shown = 1500, 50
    async with open_hall(presence=True, presence_users=shown) as hall:
        came: list[tuple[Membership, Recorder]] = []
        for number in range(crowd):
            came.append(await come(hall, f"user {number}", {}))
            await trio.sleep(1 / crowd)
        await settled(2)
        for _, recorder in came:
            assert known(recorder).counted == (crowd, 0)
            assert len(known(recorder).users) == shown
            # One for each interval, whatever happened in it.
            assert len(recorder.of(Presence)) <= 6
        last = [recorder.of(Presence)[-1] for _, recorder in came]
        # All of them share it.
        assert len({id(one) for one in last}) <= 2
        for membership, _ in came[1:]:
            await membership.deliver(Leave())
        await settled(2)
        [(_, first), *_] = came
        assert known(first).counted == (1, 0)
        assert len(first.of(Presence)) <= 10
