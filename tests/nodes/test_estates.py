"""Estates: what a dead node had goes on elsewhere, and ends when it would have ended there."""

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.errors import OwnedElsewhere, StoreUnavailable
from squire_gatherings._values.messages import Dispersed
from squire_gatherings.testing import SharedMemory
from tests.nodes.world import ROOM, open_node


async def test_sleepers_of_a_dead_node_go_on_elsewhere(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "two", idle_timeout=100.0) as two:
        async with open_node(shared, "one", idle_timeout=100.0) as one:
            await one.hall.open(ROOM, EndRules(idle_timeout=60.0))
            await trio.sleep_until(10.0)
            await one.hall.submit(ROOM, [{"n": 1}])
            one.hall.hold(ROOM, until=shared.clock() + 20.0)
            before = one.hall.explain(ROOM)
            assert await one.hall.evict(ROOM)
            await trio.sleep_until(12.0)
            await one.kill()
        await trio.sleep_until(18.0)
        assert two.hall.gatherings() == (ROOM,)
        after = two.hall.explain(ROOM)
        assert (after.ends_at, after.rule) == (before.ends_at, before.rule)
        assert two.local.inherited == 1
        # It ends as if nothing had happened.
        await trio.sleep_until(69.9)
        assert two.hall.gatherings() == (ROOM,)
        await trio.sleep_until(70.01)
        assert two.hall.gatherings() == ()
        assert two.hall.snapshot().dispersed == {"idle": 1}


async def test_what_slept_is_restored_where_somebody_asks(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "two") as two:
        async with open_node(shared, "one") as one:
            membership, _ = await one.join()
            membership.detach()
            await one.hall.submit(ROOM, [{"n": 1}])
            await one.hall.evict(ROOM)
            incarnation = membership.incarnation
            await trio.sleep_until(1.0)
            await one.kill()
        await trio.sleep_until(7.0)
        membership, recorder = await two.join(since=0, resume=incarnation)
        assert membership.incarnation == incarnation
        assert recorder.of(Dispersed) == []


async def test_until_the_lease_is_over_nobody_takes_what_a_node_has(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "two") as two:
        async with open_node(shared, "one") as one:
            await one.hall.submit(ROOM, [{"n": 1}])
            await trio.sleep_until(1.5)
            await one.kill()
        for _ in range(9):
            with pytest.raises(OwnedElsewhere):
                await two.hall.submit(ROOM, [{"n": 2}])
            await trio.sleep(0.5)
        # Lease and a second after the kill at the latest.
        await trio.sleep_until(7.5)
        assert await two.hall.submit(ROOM, [{"n": 2}]) == (2,)


async def test_a_node_that_leaves_is_followed_at_once(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "two") as two:
        async with open_node(shared, "one", idle_timeout=60.0) as one:
            await one.hall.submit(ROOM, [{"n": 1}])
            await one.hall.evict(ROOM)
            await trio.sleep_until(1.5)
        assert two.hall.gatherings() == ()
        await trio.sleep_until(2.5)
        assert two.hall.gatherings() == (ROOM,)
        assert [one.name for one in two.hall.nodes] == ["two"]


async def test_the_next_start_goes_on_with_what_slept(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one", idle_timeout=60.0) as one:
        await one.hall.submit(ROOM, [{"n": 1}])
        await one.hall.evict(ROOM)
    await trio.sleep(30.0)
    async with open_node(shared, "one again", idle_timeout=60.0) as one:
        await trio.sleep(1.1)
        assert one.hall.gatherings() == (ROOM,)
        await trio.sleep_until(60.1)
        assert one.hall.gatherings() == ()


async def test_what_a_claim_has_taken_that_failed_is_not_forgotten(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "two", idle_timeout=30.0) as two:
        async with open_node(shared, "one", idle_timeout=30.0) as one:
            await one.hall.submit(ROOM, [{"n": 1}])
            await one.hall.evict(ROOM)
            await trio.sleep_until(1.5)
        # It has left, and a claim takes the gathering before a beat does. Nobody hears of it.
        two.store.trouble("claim", "torn", after=1, calls=1)
        with pytest.raises(StoreUnavailable):
            await two.hall.fetch(ROOM)
        await trio.sleep_until(29.9)
        assert two.hall.gatherings() == (ROOM,)
        await trio.sleep_until(30.1)
        assert two.hall.snapshot().dispersed == {"idle": 1}
