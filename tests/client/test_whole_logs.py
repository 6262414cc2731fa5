"""A client's view of logs that are read as they were, cut short, or deleted."""

from datetime import UTC, datetime

import pytest
import trio
from msgspec import UNSET, UnsetType
from trio.testing import MockClock

from squire_gatherings._values.errors import BadBase, LogReplaced
from squire_gatherings._values.log import page_from
from squire_gatherings._values.messages import Fetched
from squire_gatherings._values.op import Op
from tests.client.world import ROOM, a_world
from tests.support import Sum
from tests.ways_in.streams import StreamWay, over_every_way


@over_every_way
async def test_a_gathering_as_it_was(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way, behaviour=Sum) as (world, client),
        client.join(ROOM, behaviour=Sum) as gathering,
    ):
        assert world.hall is not None
        await gathering.submit({"add": 1})
        await gathering.submit({"add": 2})
        page = await gathering.fetch(at=1)
        assert (page.seq, page.snapshot, page.is_snapshot) == (1, {"total": 1}, True)
        page = await gathering.fetch(at=2, since=1)
        assert (page.seq, [one.value for one in page.ops]) == (2, [{"add": 2}])
        assert (await gathering.fetch(at=datetime(2500, 1, 1, tzinfo=UTC))).seq == 2
        for wrong in (3, 2**40):
            with pytest.raises(BadBase, match="the last op is 2"):
                await gathering.fetch(at=wrong)
        for nothing in (-1, "1"):
            with pytest.raises(ValueError, match="at is"):
                await gathering.fetch(at=nothing)  # type: ignore[arg-type]
        # It wakes a gathering, as a submit does, and doesn't change what is iterated.
        await world.hall.disperse(ROOM)
        assert (await gathering.fetch(at=2)).snapshot == {"total": 3}
        assert gathering.snapshot() == {"total": 3}
        with trio.move_on_after(1) as scope:
            scope.cancel()
            await gathering.fetch(at=1)
        assert scope.cancelled_caught
        assert (await gathering.fetch(at=1)).snapshot == {"total": 1}


@over_every_way
async def test_a_log_whose_beginning_is_gone(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (world, client):
        assert world.hall is not None
        for n in range(5):
            await world.hall.submit(ROOM, [{"n": n}])
        async with client.join(ROOM, since=1, behaviour=None) as behind:
            assert (await anext(behind)).seq == 2
            assert await world.hall.logs.compact(ROOM, up_to=3) == 4
            # It had these already; then comes the end, and later changes.
            assert [change.seq async for change in behind] == [3, 4, 5]
            await behind.rejoin()
            await world.hall.submit(ROOM, [{"n": 5}])
            assert (await anext(behind)).seq == 6
        async with client.join(ROOM, since=1, behaviour=None) as new:
            assert [(await anext(new)).seq for _ in range(3)] == [4, 5, 6]
            assert await new.submit({"n": 6}) == 7
        async with client.join(ROOM) as whole:
            assert whole.seq == 7


@over_every_way
async def test_a_log_that_is_gone(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way) as (world, client), client.join(ROOM, since=0) as gathering:
        assert world.hall is not None
        for n in range(3):
            await world.hall.submit(ROOM, [{"n": n}])
        assert [(await anext(gathering)).seq for _ in range(3)] == [1, 2, 3]
        await world.hall.logs.delete(ROOM)
        with pytest.raises(StopAsyncIteration):
            await anext(gathering)
        assert gathering.dispersed is not None
        assert gathering.dispersed.reason == "admin"
        assert await gathering.submit({"n": 9}) == 1
        with pytest.raises(LogReplaced):
            await anext(gathering)


@pytest.mark.parametrize(
    ("told", "is_read"), [(UNSET, "this incarnation"), ("another", "another"), ("", "")]
)
def test_the_epoch_of_a_page_is_what_was_told(told: str | UnsetType, is_read: str) -> None:
    """An op from before there were epochs has an empty one, and isn't this incarnation's."""
    fetched = Fetched("f", 1, ops=(Op(b"{}"),), by=(None,), epoch=told)
    assert page_from(fetched, "this incarnation").epoch == is_read
    assert page_from(Fetched("f", 1, ops=(), by=(), epoch=told), "this incarnation").epoch is None
