"""A hall goes on in another process: nothing is lost, repeated, late or early."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import EndRules, Hall, Identity, open_hall
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._open_hall import open_successor
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.log import Restored
from squire_gatherings._values.messages import (
    Ack,
    Dispersed,
    Ending,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Leave,
    Renew,
    Sync,
    Synced,
)
from squire_gatherings._values.numbers import Stage
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallSettings
from tests.handover.moves import Move, move
from tests.support import Recorder, examples

ROOM = "friday-night"


class CountedStore(MemoryStore):
    """A store that counts restores."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        self.loads += 1
        return await super().load(gathering, recent_syncs=recent_syncs)


def asleep(hall: Hall) -> set[str]:
    """Return the ids of those that sleep."""
    observer = observer_of(hall)
    seen = {one: observer.gathering(one) for one in hall.gatherings()}
    return {name for name, one in seen.items() if one is not None and one.stage is Stage.ASLEEP}


def a_sync(number: int, base: int = 0, **more: Any) -> Sync:
    return Sync(f"s{number}", base, (Op.of({"n": number, **more}),))


async def test_the_end_stays_where_it_was(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=100.0)
    store, client = MemoryStore(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        membership = await hall.join(ROOM, client)
        await trio.sleep(30)
        await membership.deliver(a_sync(1))
        used_at = trio.current_time()
        [joined] = await client.wait_for(Joined)
        await client.wait_for(Synced)
        before = hall.explain(ROOM)
        await trio.sleep(40)
        hall, _ = await move(stack, hall, store, settings, {client: membership})
        after = hall.explain(ROOM)
        assert after.deadline == before.deadline == used_at + 100
        assert (after.incarnation, after.moved, after.opened_at) == (
            before.incarnation,
            before.moved,
            before.opened_at,
        )
        [notice] = await client.wait_for(Dispersed)
        assert trio.current_time() == used_at + 100
        assert (notice.incarnation, notice.reason) == (joined.incarnation, "idle")
        assert notice.idle_for == 100
        assert [code for _, code, _ in client.closed] == [CloseCode.DISPERSED]


async def test_rules_and_a_warning_go_along(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=100.0, warn_before=20.0)
    store, client = MemoryStore(), Recorder()
    rules = EndRules(idle_timeout=60.0, warn_before=10.0)
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        await hall.open(ROOM, rules)
        membership = await hall.join(ROOM, client)
        hall.extend(ROOM, 5, by="somebody")
        began = trio.current_time()
        await trio.sleep(58)
        assert len(client.of(Ending)) == 1
        hall, connected = await move(stack, hall, store, settings, {client: membership})
        assert hall.explain(ROOM).rules == rules
        assert hall.explain(ROOM).moved.by == "somebody"
        hall.change_rules(ROOM, idle_timeout=70.0)
        hall, _ = await move(stack, hall, store, settings, connected)
        assert hall.explain(ROOM).rules.idle_timeout == 70
        await client.wait_for(Dispersed)
        assert trio.current_time() == began + 70


async def test_their_rules_go_along_and_not_those_of_the_new_options(
    autojump_clock: MockClock,
) -> None:
    settings = HallSettings(idle_timeout=100.0, max_age=1000.0)
    store, clients = MemoryStore(), {"awake": Recorder(), "asleep": Recorder()}
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        connected: dict[Connection, Membership] = {
            client: await hall.join(name, client) for name, client in clients.items()
        }
        await hall.evict("asleep")
        before = {name: hall.explain(name) for name in clients}
        for timeout in (50.0, 200.0):
            new = HallSettings(idle_timeout=timeout, warn_before=5.0)
            hall, connected = await move(stack, hall, store, new, connected)
            for name, was in before.items():
                now = hall.explain(name)
                assert (now.rules, now.deadline) == (was.rules, was.deadline)
        await hall.open("new")
        assert hall.explain("new").rules.idle_timeout == 200
        for client in clients.values():
            await client.wait_for(Dispersed)
            assert trio.current_time() == before["awake"].deadline


async def test_empty_and_never_joined_rooms_go_along(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=1000.0, empty_timeout=50.0, unjoined_timeout=30.0)
    store, client = MemoryStore(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        began = trio.current_time()
        await hall.open("unjoined")
        membership = await hall.join(ROOM, client)
        await membership.deliver(a_sync(1))
        await trio.sleep(10)
        membership.detach()
        hall, _ = await move(stack, hall, store, settings, {})
        assert hall.explain(ROOM).deadline == began + 60
        assert hall.explain("unjoined").deadline == began + 30
        await trio.sleep(25)
        assert hall.gatherings() == (ROOM,)
        await trio.sleep(26)
        assert hall.gatherings() == ()
        # It is remembered how they ended, also by those who come back only now.
        resumed = Recorder()
        hall, _ = await move(stack, hall, store, settings, {})
        numbers = hall.snapshot()
        assert numbers.dispersed == {"unjoined": 1, "empty": 1}
        assert numbers.opened == 2
        assert not resumed.closed


async def test_those_that_sleep_go_along_asleep(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=100.0, warn_before=10.0, max_age=None, sleep_after=20.0)
    store, client, late = CountedStore(), Recorder(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        began = trio.current_time()
        await hall.open("nobody", EndRules(idle_timeout=60.0))
        membership = await hall.join(ROOM, client, client="a" * 16)
        await membership.deliver(a_sync(1))
        await membership.deliver(Ack(1))
        await trio.sleep(30)
        loads = store.loads
        assert asleep(hall) == {ROOM, "nobody"}
        before = hall.explain(ROOM)
        hall, connected = await move(stack, hall, store, settings, {client: membership})
        hall, connected = await move(stack, hall, store, settings, connected)
        assert asleep(hall) == {ROOM, "nobody"}
        assert evolve(hall.explain(ROOM), wall_now=before.wall_now) == before
        await trio.sleep_until(began + 61)
        assert hall.gatherings() == (ROOM,)
        assert store.loads == loads, "nobody has wanted anything of a log"
        # The warning comes while it sleeps, and who comes wakes it.
        [warning] = await client.wait_for(Ending)
        assert (trio.current_time(), warning.expires_in) == (began + 90, 10)
        await hall.join(ROOM, late, since=1)
        await connected[client].deliver(a_sync(2, 1))
        await client.wait_for(Synced, 2)
        assert store.loads == loads + 1
        assert [seq for _, seq, _, _ in late.forwards()] == [2]
        [joined] = client.of(Joined)
        assert hall.explain(ROOM).incarnation == joined.incarnation
        [notice] = await client.wait_for(Dispersed)
        assert trio.current_time() == began + 190
        assert notice.reason == "idle"


async def test_one_wakes_or_falls_asleep_while_it_is_told(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=1000.0)
    store = MemoryStore()
    clients = {name: Recorder() for name in ("wakes", "falls", "both", "goes")}
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        members: dict[str, Membership] = {}
        for name, one in clients.items():
            members[name] = await hall.join(name, one)
            await members[name].deliver(a_sync(1))
            await members[name].deliver(Ack(1))
        await trio.testing.wait_all_tasks_blocked()
        for name in ("wakes", "both", "goes"):
            assert await hall.evict(name)
        opened = open_successor(store=store, settings=settings)
        going = Move(hall, await stack.enter_async_context(opened))
        await going.tell({clients[name]: one for name, one in members.items()})
        assert await hall.evict("falls")
        for name in ("wakes", "both"):
            await members[name].deliver(a_sync(2, 1))
            await members[name].deliver(Ack(2))
            await clients[name].wait_for(Synced, 2)
        await going.tell({clients[name]: one for name, one in members.items()})
        assert await hall.evict("both")
        members.pop("goes").detach()
        there = await going.finish({clients[name]: one for name, one in members.items()})
        hall = going.after
        assert asleep(hall) == {"falls", "both", "goes"}
        clients_now = {one.gathering: one.clients for one in hall.snapshot().gatherings}
        assert clients_now == {"wakes": 1, "falls": 1, "both": 1, "goes": 0}
        for name in ("wakes", "falls", "both"):
            await there[clients[name]].deliver(a_sync(9, 1))
            await clients[name].wait_for(Synced, 2 if name == "falls" else 3)
            assert len((await hall.fetch(name, since=0)).ops) == (2 if name == "falls" else 3)
        assert not any(one.closed for one in clients.values())


@pytest.mark.parametrize("sleep_after", [None, 10.0])
async def test_a_hall_that_is_followed_no_longer_ends_its_gatherings_in_time(
    sleep_after: float | None, autojump_clock: MockClock
) -> None:
    settings = HallSettings(idle_timeout=100.0, sleep_after=sleep_after)
    store, client = MemoryStore(), Recorder()
    async with open_hall(store=store, settings=settings) as hall:
        membership = await hall.join(ROOM, client)
        began = trio.current_time()
        await trio.sleep(20)
        assert asleep(hall) == ({ROOM} if sleep_after else set())
        async with open_successor(store=store, settings=settings) as after:
            await Move(hall, after).tell({client: membership})
            # Its time comes while the other hall knows of it, too, and doesn't go on with it.
            [notice] = await client.wait_for(Dispersed)
            assert (notice.reason, trio.current_time()) == ("idle", began + 100)
            await trio.sleep(50)
            assert after.gatherings() == (ROOM,)
        assert len(client.of(Dispersed)) == len(client.closed) == 1


async def test_a_client_that_goes_while_it_is_under_way_is_gone(autojump_clock: MockClock) -> None:
    settings = HallSettings(idle_timeout=1000.0, empty_timeout=50.0)
    store, stays, goes = MemoryStore(), Recorder(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        await hall.join(ROOM, goes)
        membership = await hall.join("other", stays)
        began = trio.current_time()
        await membership.deliver(a_sync(1))
        hall, connected = await move(stack, hall, store, settings, {stays: membership})
        assert set(connected) == {stays}
        moved_at = trio.current_time()
        assert hall.explain(ROOM).deadline == moved_at + 50
        assert hall.explain("other").deadline == began + 1000
        assert not stays.closed


async def test_who_never_acknowledges_is_given_up_when_it_was_due(
    autojump_clock: MockClock,
) -> None:
    closed_after: list[float] = []
    for moves in range(4):
        settings = HallSettings(retry_limit=10.0, retry_interval=0.25)
        store, silent, author = MemoryStore(), Recorder(), Recorder()
        async with AsyncExitStack() as stack:
            hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
            connected: dict[Connection, Membership] = {}
            for one in (silent, author):
                connected[one] = await hall.join(ROOM, one)
            began = trio.current_time()
            await connected[author].deliver(a_sync(1))
            for _ in range(moves):
                await trio.sleep(2)
                hall, connected = await move(stack, hall, store, settings, connected)
            await silent.wait_closed()
            closed_after.append(trio.current_time() - began)
            assert [code for _, code, _ in silent.closed] == [CloseCode.UNRESPONSIVE]
            assert not author.closed
            # As many retries as ever: after 0.25 s, then after twice that, and so on.
            assert len(silent.forwards()) == 6
    assert len(set(closed_after)) == 1


async def test_a_repeated_sync_is_applied_once(autojump_clock: MockClock) -> None:
    settings = HallSettings()
    store, client = MemoryStore(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        membership = await hall.join(ROOM, client, client="phone")
        await membership.deliver(a_sync(1))
        hall, connected = await move(stack, hall, store, settings, {client: membership})
        await connected[client].deliver(a_sync(1))
        await connected[client].deliver(a_sync(2, base=1))
        answers = await client.wait_for(Synced, 3)
        assert [one.seqs for one in answers] == [(1,), (1,), (2,)]
        # A newer connection of the same client still takes the place of this one.
        newer = Recorder()
        await hall.join(ROOM, newer, client="phone")
        assert [code for _, code, _ in client.closed] == [CloseCode.REPLACED]


async def test_rights_go_along(autojump_clock: MockClock) -> None:
    wall = trio.current_time
    settings = HallSettings(rights_grace=5.0)
    store, mortal, other = MemoryStore(), Recorder(), Recorder()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(
            open_hall(store=store, settings=settings, wall_clock=wall)
        )
        ends_at = trio.current_time() + 30
        connected: dict[Connection, Membership] = {
            mortal: await hall.join(ROOM, mortal, identity=Identity("ann", expires_at=ends_at)),
            other: await hall.join(ROOM, other, identity=Identity("bob", "judge")),
        }
        hall.revoke("eve", until=trio.current_time() + 1e6)
        hall.change_role("bob", "observer", gathering_id=ROOM, until=trio.current_time() + 1e6)
        hall, connected = await move(stack, hall, store, settings, connected, wall_clock=wall)
        assert connected[other].identity == Identity("bob", "observer")
        await mortal.wait_closed()
        assert trio.current_time() == ends_at + 5
        assert [code for _, code, _ in mortal.closed] == [CloseCode.UNAUTHORIZED]
        assert not mortal.of(Renew)
        again = Recorder()
        await hall.join(ROOM, again, identity=Identity("bob", "judge"))
        [joined] = again.of(Joined)
        assert joined.role == "observer"


async def test_pages_and_answers_that_wait_go_along(autojump_clock: MockClock) -> None:
    """A client that catches up from the store while it submits, and reads slowly."""
    settings = HallSettings(tail_bytes=2000, batch_bytes=400, recent_syncs=4)
    store, author, slow = MemoryStore(), Recorder(), Slow()
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        writes = await hall.join(ROOM, author)
        for number in range(40):
            await writes.deliver(a_sync(number, pad="x" * 100))
            await writes.deliver(Ack(number))
        await author.wait_for(Synced, 40)
        reads = await hall.join(ROOM, slow, since=0, client="slow")
        await trio.testing.wait_all_tasks_blocked()
        assert len(slow.forwards()) < 10
        await reads.deliver(a_sync(1000))
        await trio.testing.wait_all_tasks_blocked()
        assert not slow.of(Synced)
        connected: dict[Connection, Membership] = {author: writes, slow: reads}
        for _ in range(3):
            hall, connected = await move(stack, hall, store, settings, connected)
            slow.let_go()
            await trio.testing.wait_all_tasks_blocked()
        while not slow.of(Synced):
            slow.let_go()
            await trio.testing.wait_all_tasks_blocked()
        [synced] = slow.of(Synced)
        assert synced.seqs == (41,)
        [joined] = slow.of(Joined)
        assert isinstance(joined.ops, tuple)
        first = len(joined.ops) + 1
        assert [seq for _, seq, _, _ in slow.forwards()] == list(range(first, 41))
        assert isinstance(slow.received[-1][1], Synced)
        assert not slow.closed


class Slow(Recorder):
    """A connection whose bytes wait until they're let go."""

    def __init__(self) -> None:
        super().__init__()
        self._gone = trio.Event()

    async def flush(self) -> None:
        self._gone = trio.Event()
        await self._gone.wait()

    def let_go(self) -> None:
        self._gone.set()


class Member:
    """A client that keeps what it was told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recorder = Recorder()
        self.membership: Membership | None = None
        self.sent: dict[str, Sync] = {}
        self.asked = 0
        """How many answers are due to its syncs."""

    @property
    def seen(self) -> dict[int, int]:
        """What it knows of the log: the number in each op, by seq."""
        found: dict[int, int] = {}
        last = 0
        [joined] = self.recorder.of(Joined)
        for message in (message for _, message in self.recorder.received):
            news: list[tuple[int, int]] = []
            if isinstance(message, Joined) and isinstance(message.ops, tuple):
                # A long log comes in parts: the first ops with the answer, the others after it.
                news = [(1 + at, op.value["n"]) for at, op in enumerate(message.ops)]
            elif isinstance(message, Forward):
                news = [(message.seq, message.op.value["n"])]
            elif isinstance(message, ForwardBatch):
                news = [(message.seq + at, op.value["n"]) for at, op in enumerate(message.ops)]
            elif isinstance(message, Synced):
                ops = self.sent[message.id].ops
                news = [(seq, op.value["n"]) for seq, op in zip(message.seqs, ops, strict=True)]
            for seq, number in news:
                # In order, without a hole; what comes again is the same.
                assert seq <= last + 1, (seq, last)
                assert found.setdefault(seq, number) == number
                last = max(last, seq)
        assert joined.incarnation
        return found


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("join", "sync", "sync", "burst", "ack", "fetch", "leave", "lose", "wait"),
                *("move", "tell", "tell", "end", "again", "sleep", "sleep"),
            ]
        ),
        st.integers(0, 2),
    ),
    min_size=5,
    max_size=40,
)


def steps(text: str) -> list[tuple[str, int]]:
    return [(one[:-1], int(one[-1])) for one in text.split()]


@hypothesis_settings(max_examples=examples(60), deadline=None)
@given(STEPS)
@example(steps("tell0 sync0 wait0 tell0 sync0 wait0 move0 again0 again1"))
@example(steps("join1 tell0 sync0 wait0 tell0 ack1 sync1 wait2 move0 wait2 ack0 sync0"))
@example(steps("join1 sync0 wait0 tell0 ack1 wait0 move0 burst0 again0 wait2"))
@example(steps("join1 tell0 leave1 wait0 join1 tell0 lose1 sync0 join1 move0 sync1 wait0"))
@example(steps("end1 tell0 end1 tell0 end0 move0 end1 tell0 move0"))
@example(steps("join1 sync0 ack0 ack1 sleep0 tell0 move0 wait0 sync1 wait0"))
@example(steps("ack0 sleep0 tell0 sync0 wait0 tell0 ack0 sleep0 tell0 leave0 join0 move0 sync0"))
@example(steps("ack0 sleep0 tell0 lose0 tell0 sleep1 end1 sleep1 tell0 end1 move0 end0"))
@example(steps("tell0 burst0 burst0 burst0 burst0 burst0 burst0 wait0 move0 again0 sync0"))
def test_whole_lives(actions: list[tuple[str, int]]) -> None:
    trio.run(_live, actions, clock=MockClock(autojump_threshold=0))


async def _live(actions: list[tuple[str, int]]) -> None:
    settings = HallSettings(
        idle_timeout=500.0, tail_bytes=3000, batch_bytes=500, recent_syncs=8, snapshot_every=10
    )
    store = MemoryStore()
    members = [Member(name) for name in "abc"]
    past: list[Member] = []
    count = 0
    going: Move | None = None
    async with AsyncExitStack() as stack:
        hall = await stack.enter_async_context(open_hall(store=store, settings=settings))
        for action, who in [("join", 0), *actions, ("move", 0)]:
            member = members[who]
            membership = member.membership
            connected: dict[Connection, Membership] = {
                one.recorder: one.membership for one in members if one.membership is not None
            }
            if action in ("tell", "move") and going is None:
                opened = open_successor(store=store, settings=settings)
                going = Move(hall, await stack.enter_async_context(opened))
            if action == "tell":
                assert going is not None
                await going.tell(connected)
            elif action == "move":
                assert going is not None
                ends = {one: hall.explain(one).deadline for one in hall.gatherings()}
                there = await going.finish(connected)
                hall, going = going.after, None
                assert there.keys() == connected.keys()
                for one in members:
                    one.membership = there.get(one.recorder)
                for name, end in ends.items():
                    # What was under way may have moved it on.
                    assert hall.explain(name).deadline >= end
            elif action == "wait":
                await trio.sleep(0.1 * (who + 1))
            elif action == "sleep":
                # It goes on being asked, and may be awake again when the hall goes on elsewhere.
                with trio.move_on_after(1):
                    await hall.evict("other" if who else ROOM)
            elif action == "end":
                # A gathering to which nobody is connected, and its next incarnation.
                await hall.submit("other", [{"n": 1}])
                await hall.disperse("other")
                if who:
                    await hall.submit("other", [{"n": 2}])
            elif action == "join" and membership is None:
                member.membership = await hall.join(
                    ROOM, member.recorder, since=0, client=member.name
                )
            elif membership is None:
                continue
            elif action in ("sync", "burst"):
                for _ in range(1 if action == "sync" else 5):
                    count += 1
                    sync = Sync(f"s{count}", 0, (Op.of({"n": count}), Op.of({"n": -count})))
                    member.sent[sync.id] = sync
                    member.asked += 1
                    await membership.deliver(sync)
            elif action == "again" and member.sent:
                # Applied once, and answered as before.
                member.asked += 1
                await membership.deliver(list(member.sent.values())[-1 - who % len(member.sent)])
            elif action == "again":
                continue
            elif action == "ack":
                await trio.testing.wait_all_tasks_blocked()
                await membership.deliver(Ack(max(member.seen, default=0)))
            elif action == "fetch":
                await membership.deliver(Fetch(f"f{count}", 0))
            else:
                if action == "leave":
                    await membership.deliver(Leave())
                    await member.recorder.wait_closed()
                else:
                    await trio.testing.wait_all_tasks_blocked()
                membership.detach()
                past.append(member)
                members[who] = Member(member.name)
        await trio.sleep(1)
        page = await hall.fetch(ROOM, since=0)
        log: dict[int, int] = {}
        while True:
            for op in page.ops:
                log[len(log) + 1] = op.value["n"]
            if len(log) == page.seq:
                break
            page = await hall.fetch(ROOM, since=len(log))
        if "other" in hall.gatherings():
            assert (await hall.fetch("other")).seq
        # Each op is there once, and everybody knows the same.
        assert len(set(log.values())) == len(log) == 2 * count
        for member in (*members, *past):
            if member.recorder.of(Joined):
                seen = member.seen
                assert seen.items() <= log.items()
                if member.membership is not None and member in members:
                    assert not member.recorder.closed
                    assert max(seen, default=0) == len(log)
                    assert len(member.recorder.of(Synced)) == member.asked
                    fetched = member.recorder.of(Fetched)
                    assert all(one.seq <= len(log) for one in fetched)
