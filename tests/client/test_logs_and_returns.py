"""The client and the hall together: logs that were replaced, and reconnecting by itself."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import DispersalReason, LogReplaced, open_hall
from squire_gatherings._stores import MemoryStore
from squire_gatherings.client import Gathering
from tests.client.world import ROOM, a_world, until
from tests.support import Sum
from tests.ways_in.streams import StreamWay, over_every_way


async def arrive(gathering: Gathering, seq: int) -> None:
    await until(lambda: gathering.seq >= seq, lambda: gathering._session.exchange.news)


@over_every_way
@pytest.mark.parametrize("grown", [1, 3, 5])
@pytest.mark.parametrize("behaviour", [None, Sum])
async def test_a_log_that_was_replaced_is_told_once_and_begun_again(
    behaviour: Any, grown: int, way: StreamWay, autojump_clock: MockClock
) -> None:
    how: dict[str, Any] = {} if behaviour is None else {"behaviour": behaviour}
    async with a_world(way, store=MemoryStore(), **how) as (world, client):
        first = world.hall
        assert first is not None
        for number in range(3):
            await first.submit(ROOM, [{"add": number}])
        async with client.join(ROOM, behaviour=behaviour, since=0) as gathering:
            before = [await anext(gathering) for _ in range(3)]
            assert [change.op["add"] for change in before] == [0, 1, 2]
            async with open_hall(store=MemoryStore(), **how) as second:
                for number in range(grown):
                    await second.submit(ROOM, [{"add": 100 + number}])
                world.hall = second
                await first.close()
                with pytest.raises(LogReplaced):
                    await anext(gathering)
                after = [await anext(gathering) for _ in range(grown)]
                assert [change.seq for change in after] == list(range(1, grown + 1))
                assert [change.op["add"] for change in after] == [100 + n for n in range(grown)]
                if behaviour is not None:
                    assert gathering.snapshot() == {"total": sum(100 + n for n in range(grown))}
                assert await gathering.submit({"add": 7}) == grown + 1


@over_every_way
async def test_a_client_that_is_cut_keeps_nothing_alive(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, idle_timeout=100.0) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        await gathering.submit({"n": 1})
        start = trio.current_time()
        for _ in range(12):
            await trio.sleep(7)
            world.cut()
        # The loop ends as if the client had been connected.
        assert [change async for change in gathering] == []
        assert gathering.dispersed is not None
        assert (gathering.dispersed.reason, gathering.dispersed.idle_for) == ("idle", 100.0)
        # It is told of the end at once, or when it is back from a pause.
        assert start + 100 <= trio.current_time() <= start + 130


@over_every_way
async def test_a_client_that_missed_the_end_wakes_nothing(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, idle_timeout=100.0) as (world, client), client.join(ROOM) as gathering:
        hall = world.hall
        assert hall is not None
        await gathering.submit({"n": 1})
        await trio.sleep(50)
        world.hall = None
        world.cut()
        await trio.sleep(200)
        assert hall.gatherings() == ()
        world.hall = hall
        assert [change async for change in gathering] == []
        assert gathering.is_asleep
        assert hall.gatherings() == ()
        assert hall.snapshot().opened == 1
        # A client that has something to do wakes the gathering.
        assert await gathering.submit({"n": 2}) == 2


@over_every_way
async def test_a_submit_is_asked_again_after_the_end(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, idle_timeout=100.0) as (world, client), client.join(ROOM) as gathering:
        hall = world.hall
        assert hall is not None
        await trio.sleep(50)
        world.hall = None
        world.cut()
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
            await trio.sleep(200)
            world.hall = hall
        assert (await hall.fetch(ROOM)).seq == 1


@over_every_way
@pytest.mark.parametrize(
    "reason", [DispersalReason.MOVED, DispersalReason.SHUTDOWN, DispersalReason.CRASHED]
)
async def test_a_client_that_missed_a_temporary_end_comes_back(
    reason: DispersalReason, way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        hall = world.hall
        assert hall is not None
        await gathering.submit({"n": 1})
        world.hall = None
        world.cut()
        await hall.disperse(ROOM, reason)
        world.hall = hall
        # It submits nothing.
        await trio.sleep(60)
        assert gathering.is_connected
        await hall.submit(ROOM, [{"n": 2}])
        with trio.fail_after(1):
            assert (await anext(gathering)).op == {"n": 2}
