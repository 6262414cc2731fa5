"""Warnings of an end, and reasons of a later version, as the client library shows them."""

import pytest
import trio
from trio.testing import MockClock

from squire_gatherings import DispersalReason
from squire_gatherings.client import EndingSoon, Gathering, Left
from tests.client.world import ROOM, a_world
from tests.ways_in.streams import OURS


async def next_ending(
    gathering: Gathering, known: EndingSoon | None
) -> tuple[float, EndingSoon | None]:
    ending = await gathering.wait_ending(other_than=known)
    return trio.current_time(), ending


async def test_a_warning_is_shown_until_it_is_put_off(autojump_clock: MockClock) -> None:
    async with (
        a_world(OURS, idle_timeout=100.0, warn_before=10.0) as (_, client),
        client.join(ROOM) as gathering,
        client.join(ROOM) as other,
    ):
        start = trio.current_time()
        assert gathering.ending is None
        at, ending = await next_ending(gathering, None)
        assert (at, ending) == (start + 90, EndingSoon("idle", start + 100))
        assert ending is not None
        assert ending.left == gathering.expires_in == 10
        assert other.ending == ending
        await trio.sleep(2)
        await other.submit({"n": 1})
        assert await next_ending(gathering, ending) == (start + 92, None)
        # Its own acknowledgement comes a moment later.
        async for _ in gathering:
            assert other.ending is None
        assert gathering.dispersed is not None
        assert gathering.dispersed.reason == "idle"
        assert trio.current_time() == start + 192.1
        assert gathering.is_asleep


@pytest.mark.parametrize("reason", ["unjoined", "alone", "max_age", "ends_at"])
async def test_the_client_sleeps_after_an_end_by_a_rule(
    reason: str, autojump_clock: MockClock
) -> None:
    async with (
        a_world(OURS) as (world, client),
        client.join(ROOM) as gathering,
    ):
        assert world.hall is not None
        await world.hall.disperse(ROOM, DispersalReason(reason))
        async for _ in gathering:
            pass
        await trio.sleep(1000)
        assert gathering.is_asleep
        assert world.hall.gatherings() == ()
        await gathering.submit({"n": 1})
        assert world.hall.gatherings() == (ROOM,)


async def test_a_fixed_end_is_known_from_the_join_on(autojump_clock: MockClock) -> None:
    async with (
        a_world(OURS, idle_timeout=100.0, max_age=150.0) as (_, client),
        client.join(ROOM) as gathering,
    ):
        start = trio.current_time()
        assert gathering.expires_in == 100
        await trio.sleep(80)
        await gathering.submit({"n": 1})
        assert gathering.expires_in == 70
        async for _ in gathering:
            pass
        assert trio.current_time() == start + 150


async def test_waiting_for_a_warning_ends_with_the_stay(autojump_clock: MockClock) -> None:
    async with a_world(OURS) as (_, client):
        async with client.join(ROOM) as gathering:
            pass
        with pytest.raises(Left):
            await gathering.wait_ending()
