"""Moves: a gathering falls asleep at one node and goes on at another; nodes drain, and share."""

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings._cluster.node import GIVEN_AT_ONCE
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import OwnedElsewhere, StoreUnavailable, TakenAway
from squire_gatherings._values.messages import Dispersed, Synced
from squire_gatherings._values.nodes import NodeState
from squire_gatherings.testing import SharedMemory
from tests.nodes.world import ROOM, open_node, sync


async def test_a_gathering_moves_with_its_incarnation_and_its_deadline(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await one.hall.open(ROOM, EndRules(idle_timeout=60.0, warn_before=5.0))
        anna, told = await one.join(client="a")
        await trio.sleep_until(10.0)
        await anna.deliver(sync(1))
        await told.wait_for(Synced)
        before = one.hall.explain(ROOM)
        await trio.sleep_until(12.0)
        assert await one.hall.move(ROOM, two.local.node)
        assert trio.current_time() <= 12.1
        assert [(code, why) for _, code, why in told.closed] == [(CloseCode.MOVED, "moved")]
        assert told.of(Dispersed) == []
        with pytest.raises(OwnedElsewhere):
            await one.join(since=1, resume=anna.incarnation)
        again, recorder = await two.join(client="a", since=1, resume=anna.incarnation)
        assert again.incarnation == anna.incarnation
        after = two.hall.explain(ROOM)
        assert (after.ends_at, after.rule, after.moved) == (
            before.ends_at,
            before.rule,
            before.moved,
        )
        await recorder.wait_closed()
        assert trio.current_time() == pytest.approx(70.0, abs=1e-6)
        assert [end.incarnation for end in recorder.of(Dispersed)] == [anna.incarnation]


async def test_what_was_on_its_way_while_it_moved_is_durable(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        anna, told = await one.join(client="a")
        one.store.trouble("append", "slow", seconds=0.5)
        await anna.deliver(sync(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.hall.move, ROOM, two.local.node)
            await trio.sleep(0.1)
            # Whoever asks meanwhile waits, and is told where it is.
            with pytest.raises(TakenAway):
                one.hall.explain(ROOM)
            with pytest.raises(OwnedElsewhere):
                await one.hall.submit(ROOM, [{"n": 2}])
        assert told.of(Synced) == []
        again, recorder = await two.join(client="a", since=0)
        await again.deliver(sync(1))
        assert [one.seqs for one in await recorder.wait_for(Synced)] == [(1,)]


@pytest.mark.parametrize("is_asleep", [False, True])
async def test_who_is_connected_is_sent_away_once_it_is_the_other_nodes(
    autojump_clock: MockClock, is_asleep: bool
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        anna, told = await one.join(client="a")
        if is_asleep:
            assert await one.hall.evict(ROOM)
        one.store.trouble("give", "slow", seconds=0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.hall.move, ROOM, two.local.node)
            await trio.sleep(0.4)
            # What is said meanwhile goes nowhere, and is said again there.
            await anna.deliver(sync(1))
            assert told.closed == []
            await told.wait_closed()
            assert trio.current_time() == pytest.approx(0.5, abs=0.05)
            again, recorder = await two.join(client="a", since=0)
        assert told.closed[0][1] == CloseCode.MOVED
        await again.deliver(sync(1))
        assert [one.seqs for one in await recorder.wait_for(Synced)] == [(1,)]


async def test_who_is_connected_is_not_held_while_the_store_is_away(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        _, told = await one.join(client="a")
        one.store.trouble("give", "full")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.hall.move, ROOM, two.local.node)
            await told.wait_closed()
            assert trio.current_time() < 0.1
            one.store.heal()


async def test_a_move_that_is_given_up_waits_no_longer_than_the_lease(
    autojump_clock: MockClock,
) -> None:
    """A server that is to end would wait for ever for a database that is gone."""
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await one.hall.submit(ROOM, [{"n": 1}])
        for call in ("give", "beat"):
            one.store.trouble(call, "full")
        began = trio.current_time()
        with trio.move_on_after(1.0) as scope:
            await one.hall.move(ROOM, two.local.node)
        assert scope.cancelled_caught
        assert 1.0 < trio.current_time() - began < one.store.lease.duration + 1.0
        # Nobody knows whose it is: it isn't shown as ours.
        assert one.hall.gatherings() == ()
        # The other one has taken over what it had.
        await trio.sleep(2.0)
        assert two.hall.gatherings() == (ROOM,)
        assert await two.hall.submit(ROOM, [{"n": 2}]) == (2,)
        one.store.heal()


async def test_nobody_asks_and_it_ends_on_time_where_it_went(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one", idle_timeout=30.0) as one,
        open_node(shared, "two", idle_timeout=30.0) as two,
    ):
        await one.hall.submit(ROOM, [{"n": 1}])
        await trio.sleep_until(5.0)
        assert await one.hall.move(ROOM, two.local.node)
        await trio.sleep_until(6.1)
        assert two.hall.gatherings() == (ROOM,)
        # And back again.
        assert await two.hall.move(ROOM, one.local.node)
        await trio.sleep_until(29.99)
        assert one.hall.gatherings() == (ROOM,)
        await trio.sleep_until(30.01)
        assert one.hall.gatherings() == ()


async def test_while_nobody_knows_whose_it_is_it_is_nobodys(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    for what in ("torn", "busy"):
        async with (
            open_node(shared, f"one {what}", idle_timeout=4.0) as one,
            open_node(shared, f"two {what}", idle_timeout=4.0) as two,
        ):
            began = trio.current_time()
            await one.hall.submit(ROOM, [{"n": 1}])
            one.store.trouble("give", "torn" if what == "torn" else "busy", calls=20)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.hall.move, ROOM, two.local.node)
                await trio.sleep_until(began + 1.0)
                if what == "torn":
                    await trio.sleep_until(began + 3.9)
                    assert two.hall.gatherings() == (ROOM,)
                await trio.sleep_until(began + 4.1)
                one.store.heal()
            await trio.sleep_until(began + 8.0)
            assert one.hall.gatherings() == two.hall.gatherings() == ()
            ends = one.hall.snapshot().dispersed, two.hall.snapshot().dispersed
            assert sum((one.get("idle", 0) for one in ends), 0) == 1


async def test_what_cannot_sleep_stays(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        anna, _ = await one.join(client="a")
        one.store.trouble("append", "busy")
        await anna.deliver(sync(1))
        await trio.sleep(0.5)
        assert not await one.hall.move(ROOM, two.local.node)
        one.store.heal()
        await trio.sleep(1.0)
        assert (await one.hall.fetch(ROOM, since=0)).seq == 1


async def test_a_thousand_gatherings_are_drained_in_five_seconds(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    names = [f"g{number}" for number in range(1000)]
    async with (
        open_node(shared, "two", idle_timeout=60.0) as two,
        open_node(shared, "three", idle_timeout=60.0) as three,
    ):
        async with open_node(shared, "one", idle_timeout=60.0) as one:
            for name in names:
                await one.hall.submit(name, [{"n": 1}])
            _, told = await one.join(names[7])
            await trio.sleep(1.5)
            began = trio.current_time()
            assert await one.hall.drain() == 0
            assert trio.current_time() - began < 5.0
            assert told.closed[0][1] is CloseCode.MOVED
            with pytest.raises(OwnedElsewhere):
                await one.hall.submit("new", [{"n": 1}])
        await trio.sleep(5.0)
        shares = [len(node.hall.gatherings()) for node in (two, three)]
        assert sum(shares) == 1000
        assert min(shares) > 300
        await trio.sleep_until(began + 61.0)
        ends = [node.hall.snapshot().dispersed for node in (two, three)]
        assert sum(one["idle"] for one in ends) == 1000


async def test_a_node_that_is_alone_drains_nothing(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one:
        await one.hall.submit(ROOM, [{"n": 1}])
        assert await one.hall.drain() == 1
        assert await one.hall.submit("another", [{"n": 1}]) == (1,)


async def test_nothing_is_given_to_a_node_that_drains(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await one.hall.submit(ROOM, [{"n": 1}])
        await two.hall.drain()
        assert two.local.node.state is NodeState.DRAINING
        assert not await one.hall.move(ROOM, two.local.node)
        assert await one.hall.submit(ROOM, [{"n": 2}]) == (2,)


async def test_a_node_that_joins_is_given_its_share_by_and_by(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one:
        for number in range(100):
            await one.hall.submit(f"g{number}", [{"n": 1}])
            await one.hall.evict(f"g{number}")
        async with open_node(shared, "two") as two:
            before = 0
            for _ in range(20):
                await trio.sleep(1.0)
                there = len(two.hall.gatherings())
                assert there - before <= 2 * GIVEN_AT_ONCE
                before = there
            assert 40 <= before <= 60


async def test_a_node_that_cannot_reach_the_store_gives_nothing(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await one.hall.submit(ROOM, [{"n": 1}])
        one.cut()
        with trio.move_on_after(20.0):
            assert not await one.hall.move(ROOM, two.local.node)
        with pytest.raises(StoreUnavailable):
            await one.hall.fetch(ROOM)
        await trio.sleep(10.0)
        assert await two.hall.submit(ROOM, [{"n": 2}]) == (2,)


async def test_a_node_without_a_lease_drains_nothing(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two"):
        await one.hall.submit(ROOM, [{"n": 1}])
        await trio.sleep(1.5)
        one.cut()
        await trio.sleep(5.0)
        began = trio.current_time()
        assert await one.hall.drain() == 1
        assert trio.current_time() - began < 0.1


async def test_nothing_is_given_to_a_node_that_has_fallen_silent(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        async with open_node(shared, "three") as three:
            for number in range(20):
                await one.hall.submit(f"g{number}", [{"n": 1}])
            await trio.sleep(1.5)
            await three.kill()
        await trio.sleep(3.8)
        # It isn't declared dead yet.
        assert len(one.hall.nodes) == 3
        assert await one.hall.drain() == 0
        await trio.sleep(1.5)
        assert len(two.hall.gatherings()) == 20


async def test_one_that_moves_makes_room_by_that(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one", max_gatherings=1, when_full="stalest") as one,
        open_node(shared, "two") as two,
    ):
        await one.hall.submit(ROOM, [{"n": 1}])
        incarnation = one.hall.explain(ROOM).incarnation
        one.store.trouble("give", "slow", seconds=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.hall.move, ROOM, two.local.node)
            await trio.sleep(0.5)
            assert await one.hall.submit("another", [{"n": 1}]) == (1,)
        await trio.sleep(1.1)
        # It wasn't evicted on its way.
        assert two.hall.explain(ROOM).incarnation == incarnation
        assert one.hall.snapshot().dispersed == {}
