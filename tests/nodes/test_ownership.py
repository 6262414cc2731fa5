"""Ownership: each gathering has one node, and a node that isn't certain shows nothing."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import OwnedElsewhere, StoreUnavailable
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import (
    Ack,
    Dispersed,
    Error,
    Fetch,
    Fetched,
    Forward,
    Joined,
    Presence,
    Synced,
)
from squire_gatherings.testing import FailingStore, SharedMemory, WallClock
from tests.nodes.world import ROOM, open_node, sync


def test_which_stores_know_nodes() -> None:
    shared = SharedMemory()
    assert isinstance(shared.store(), OwnerStore)
    assert isinstance(FailingStore(shared.store()), OwnerStore)
    assert not isinstance(MemoryStore(), OwnerStore)
    assert not isinstance(FailingStore(), OwnerStore)


async def test_one_node_has_a_gathering_and_the_others_say_which(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        assert await one.hall.submit(ROOM, [{"n": 1}]) == (1,)
        with pytest.raises(OwnedElsewhere, match="node one has the gathering") as info:
            await two.hall.submit(ROOM, [{"n": 2}])
        assert info.value.node.name == "one"
        for ask in (two.hall.fetch, two.hall.open, two.join):
            with pytest.raises(OwnedElsewhere):
                await ask(ROOM)
        # It is released with its end; the log is all nodes'.
        assert await one.hall.disperse(ROOM)
        assert await two.hall.submit(ROOM, [{"n": 2}]) == (2,)
        with pytest.raises(OwnedElsewhere):
            await one.hall.fetch(ROOM)


async def test_a_client_that_returns_is_told_where_the_incarnation_goes_on(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        membership, _ = await one.join()
        with pytest.raises(OwnedElsewhere):
            await two.join(since=0, resume=membership.incarnation)


async def test_of_two_nodes_that_open_it_at_once_one_does(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    said: list[object] = []

    async def submit(hall: object) -> None:
        try:
            said.append(await hall.submit(ROOM, [{"n": 1}]))  # type: ignore[attr-defined]
        except OwnedElsewhere:
            said.append("elsewhere")

    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        async with trio.open_nursery() as nursery:
            for hall in (one.hall, two.hall):
                nursery.start_soon(submit, hall)
                nursery.start_soon(submit, hall)
        assert sorted(map(str, said)) == ["(1,)", "(2,)", "elsewhere", "elsewhere"]


async def test_a_node_that_is_cut_off_shows_nothing_after_its_lease(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", idle_timeout=60.0) as one:
        anna, told = await one.join(client="a")
        _, other = await one.join(client="b")
        await anna.deliver(sync(1))
        await told.wait_for(Synced)
        one.cut()
        # The last beat was sent at 0: the lease ends at 4.5.
        await trio.sleep_until(4.4)
        await anna.deliver(Fetch("f1", 0))
        assert [one.id for one in await told.wait_for(Fetched)] == ["f1"]
        await trio.sleep_until(4.6)
        before = len(told.received), len(other.received)
        await anna.deliver(Fetch("f2", 0))
        await anna.deliver(sync(2))
        await wait_all_tasks_blocked()
        errors = told.of(Error)
        assert [one.code for one in errors] == ["store_unavailable"] * 2
        assert (len(told.received), len(other.received)) == (before[0] + 2, before[1])
        with pytest.raises(StoreUnavailable):
            await one.hall.fetch(ROOM)
        with pytest.raises(StoreUnavailable):
            await one.join(client="c")
        with pytest.raises(StoreUnavailable):
            await one.hall.submit("another", [{"n": 1}])
        # Nobody has declared it dead: it goes on.
        await trio.sleep_until(20)
        assert len(other.received) == before[1]
        one.heal()
        await trio.sleep_until(22)
        await anna.deliver(sync(3))
        assert len(await told.wait_for(Synced, 2)) == 2


async def test_what_was_committed_meanwhile_is_shown_once_the_lease_is_back(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", retry_limit=1000.0) as one:
        anna, told = await one.join(client="a")
        _, other = await one.join(client="b")
        one.store.trouble("beat", "full")
        one.store.trouble("append", "slow", seconds=10.0)
        await trio.sleep_until(4.0)
        await anna.deliver(sync(1))
        await trio.sleep_until(15.0)
        # It is durable since 14.
        assert told.of(Synced) == []
        assert other.of(Forward) == []
        one.heal()
        await told.wait_for(Synced)
        await other.wait_for(Forward)
        assert 15.0 <= trio.current_time() <= 16.0
        await anna.deliver(Ack(1))


async def test_an_end_that_is_due_without_a_lease_waits_for_it(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", idle_timeout=10.0) as one:
        _, told = await one.join()
        await trio.sleep_until(5.0)
        one.cut()
        await trio.sleep_until(30.0)
        assert told.of(Dispersed) == []
        assert told.closed == []
        one.heal()
        await told.wait_closed()
        assert [str(end.reason) for end in told.of(Dispersed)] == ["idle"]
        assert trio.current_time() <= 31.0


async def test_a_hall_that_closes_without_a_lease_says_moved(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    told: list[str] = []

    async def on_event(event: object) -> None:
        told.append(str(event.kind))  # type: ignore[attr-defined]

    async with open_node(shared, "one", on_event=on_event) as one:
        _, recorder = await one.join()
        one.cut()
        await trio.sleep_until(10.0)
    assert [str(end.reason) for end in recorder.of(Dispersed)] == ["moved"]
    assert recorder.closed[0][1] is CloseCode.MOVED
    assert "dispersed" not in told


async def test_a_node_that_was_declared_dead_says_moved_and_begins_anew(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        first = one.local.node.id
        anna, told = await one.join(client="a")
        await anna.deliver(sync(1))
        await told.wait_for(Synced)
        one.pause()
        await trio.sleep_until(4.8)
        with pytest.raises(OwnedElsewhere):
            await two.join()
        await trio.sleep_until(6.2)
        _, bert = await two.join(since=0)
        assert bert.of(Joined)[0].seq == 1
        await anna.deliver(sync(2))
        await wait_all_tasks_blocked()
        assert [error.code for error in told.of(Error)] == ["store_unavailable"]
        assert told.closed == []
        one.heal()
        await told.wait_closed()
        assert [str(end.reason) for end in told.of(Dispersed)] == ["moved"]
        assert told.closed[0][1] is CloseCode.MOVED
        await trio.sleep(2.0)
        assert one.local.node.id != first
        assert one.local.beats.deaths == 1
        with pytest.raises(OwnedElsewhere):
            await one.hall.fetch(ROOM)
        assert await one.hall.submit("another", [{"n": 1}]) == (1,)


async def test_a_dead_nodes_append_that_comes_late_is_refused(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        anna, told = await one.join(client="a")
        one.pause()
        await anna.deliver(sync(1))
        await trio.sleep_until(7.0)
        assert await two.hall.submit(ROOM, [{"n": 2}]) == (1,)
        one.store.heal("append")
        await told.wait_closed()
        assert [str(end.reason) for end in told.of(Dispersed)] == ["moved"]
        assert told.of(Synced) == []
        page = await two.hall.fetch(ROOM, since=0)
        assert [op.value for op in page.ops] == [{"n": 2}]


async def test_who_asks_while_the_lease_is_away_uses_the_gathering(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", idle_timeout=10.0) as one:
        anna, told = await one.join(client="a")
        one.cut()
        for number in range(1, 8):
            await trio.sleep_until(3.0 * number)
            await anna.deliver(sync(number))
        one.heal()
        # The last one was at 21, and is kept no more than the others.
        await trio.sleep_until(30.9)
        assert told.closed == []
        await told.wait_closed()
        assert trio.current_time() == pytest.approx(31.0)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_the_stores_clock_may_be_set(seconds: float, autojump_clock: MockClock) -> None:
    clock = WallClock()
    shared = SharedMemory(clock=clock)
    async with open_node(shared, "two") as two:
        async with open_node(shared, "one") as one:
            await one.hall.submit(ROOM, [{"n": 1}])
            await trio.sleep_until(2.5)
            clock.step(seconds)
            await trio.sleep_until(20.0)
            assert (one.local.beats.deaths, two.local.inherited) == (0, 0)
            with pytest.raises(OwnedElsewhere):
                await two.hall.submit(ROOM, [{"n": 2}])
            assert await one.hall.submit(ROOM, [{"n": 2}]) == (2,)
            await trio.sleep_until(20.5)
            clock.step(seconds)
            await one.kill()
        await trio.sleep_until(26.5)
        assert await two.hall.submit(ROOM, [{"n": 3}]) == (3,)


async def test_nothing_is_sent_again_without_a_lease(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", retry_limit=1000.0) as one:
        anna, _ = await one.join(client="a")
        _, silent = await one.join(client="b")
        await anna.deliver(sync(1))
        await silent.wait_for(Forward)
        await trio.sleep_until(4.0)
        # It has acknowledged nothing.
        assert len(silent.of(Forward)) > 1
        one.cut()
        await trio.sleep_until(9.5)
        sent = len(silent.of(Forward))
        await trio.sleep_until(60.0)
        assert len(silent.of(Forward)) == sent
        one.heal()
        await trio.sleep_until(65.0)
        assert len(silent.of(Forward)) > sent


async def test_pages_wait_for_the_lease(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", tail_bytes=1, batch_bytes=1, retry_limit=1000.0) as one:
        for number in range(5):
            await one.hall.submit(ROOM, [{"n": number}])
        one.store.trouble("read", "slow", seconds=2.0)
        one.store.trouble("beat", "full")
        # What is older than memory comes page after page.
        _, told = await one.join(client="a", since=0)
        await trio.sleep_until(50.0)
        shown = len(told.forwards())
        assert shown < 4
        assert all(at < 5.5 for at, *_ in told.forwards())
        one.heal()
        await trio.sleep_until(60.0)
        assert len(told.forwards()) > shown


async def test_nobody_is_told_who_is_here_without_a_lease(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", presence=True) as one:
        _, told = await one.join(client="a", presence={"n": 1})
        bert, _ = await one.join(client="b", presence={"n": 2}, identity=Identity("bert"))
        await trio.sleep_until(4.0)
        before = len(told.of(Presence))
        assert len(one.hall.presence(ROOM).users) == 2
        one.cut()
        await trio.sleep_until(9.6)
        bert.detach(left=True)
        with pytest.raises(StoreUnavailable):
            one.hall.presence(ROOM)
        await trio.sleep_until(20.0)
        assert len(told.of(Presence)) == before
        one.heal()
        await trio.sleep_until(22.0)
        assert len(told.of(Presence)) == before + 1
        assert len(one.hall.presence(ROOM).users) == 1


async def test_nobody_makes_room_for_what_another_node_has(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two", max_gatherings=1, when_full="stalest") as two,
    ):
        await one.hall.submit(ROOM, [{"n": 1}])
        await two.hall.submit("another", [{"n": 1}])
        with pytest.raises(OwnedElsewhere):
            await two.hall.submit(ROOM, [{"n": 2}])
        assert two.hall.gatherings() == ("another",)
        await two.hall.submit("third", [{"n": 1}])
        assert two.hall.gatherings() == ("third",)
