"""Many offline submits at a server with a rate limit: they are paced, and all succeed."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from squire_gatherings import ServerSettings
from squire_gatherings._client.pace import Pace
from squire_gatherings._rules.rate_limit import RateLimit
from tests.client.scripted import Peer, a_client, error, joined, synced
from tests.client.world import ROOM, a_world
from tests.support import examples
from tests.ways_in.streams import StreamWay, over_every_way

MANY = 400


@over_every_way
@pytest.mark.parametrize("burst", [1, 10, 100])
async def test_hundreds_of_offline_submits_get_through(
    burst: int, way: StreamWay, autojump_clock: MockClock
) -> None:
    limits = ServerSettings(rate_limit=50, rate_burst=burst)
    async with (
        a_world(way, server_settings=limits) as (world, client),
        client.join(ROOM) as gathering,
    ):
        hall, world.hall = world.hall, None
        world.cut()
        await trio.sleep(1)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for n in range(MANY):
                nursery.start_soon(gathering.submit, {"n": n})
            world.hall = hall
        assert gathering.seq == MANY
        # It takes about as long as the limit says, and the connection is hardly ever cut.
        assert trio.current_time() - start < 5 * MANY / 50
        assert world.opened < MANY / 20


@pytest.mark.parametrize("has_id", [True, False])
@pytest.mark.parametrize("rate", [5, 50])
async def test_a_limit_that_outlives_the_connection(
    rate: int, has_id: bool, autojump_clock: MockClock
) -> None:
    """The server counts by client: coming back doesn't fill the bucket. Joins count, too."""
    limit = RateLimit(rate, 20)
    opened = 0
    log: list[str] = []

    async def serve(peer: Peer) -> None:
        nonlocal opened
        opened += 1
        await peer.hear("join")
        if not limit.allow(trio.current_time()):
            await peer.say(error("rate_limited"))
            await peer.close(4029)
            return
        await peer.say(joined(seq=0 if opened == 1 else len(log)))
        refused = 0
        if opened == 1:
            await peer.drop()
            return
        while True:
            request = await peer.hear()
            if limit.allow(trio.current_time()):
                refused = 0
                if request["type"] == "sync":
                    if request["id"] not in log:
                        log.append(request["id"])
                    await peer.say(synced(request, log.index(request["id"]) + 1))
                continue
            refused += 1
            if refused > 20:
                await peer.close(4029)
                return
            await peer.say(error("rate_limited", request if has_id and "id" in request else None))

    count = 10 * rate
    async with (
        a_client(*[serve] * 10_000) as client,
        client.join(ROOM, behaviour=None) as gathering,
    ):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for n in range(count):
                nursery.start_soon(gathering.submit, {"n": n})
        assert len(log) == count
        assert trio.current_time() - start < 60
        assert opened < 10


async def test_a_client_that_is_always_cut_for_it_backs_off(autojump_clock: MockClock) -> None:
    opened = 0

    async def serve(peer: Peer) -> None:
        nonlocal opened
        opened += 1
        await peer.hear("join")
        await peer.say(joined(seq=opened - 1))
        await peer.say({"type": "forward", "seq": opened, "by": None, "op": {}})
        await peer.hear()
        await peer.close(4029)

    async with (
        a_client(*[serve] * 10_000, patience=10_000.0) as client,
        client.join(ROOM) as gathering,
    ):
        with trio.move_on_after(3600):
            await gathering.submit({"n": 1})
        assert opened < 500


@settings(max_examples=examples(100), deadline=None)
@given(rate=st.floats(0.5, 500), burst=st.integers(1, 50))
def test_the_pace_finds_the_limit_whatever_it_is(rate: float, burst: int) -> None:
    pace, limit = Pace(longest=30.0, calm=0.5), RateLimit(rate, burst)
    now, taken, refused = 0.0, 0, 0
    while taken < 300:
        now = max(now + 1e-6, pace.next_at)
        pace.sent(now)
        if limit.allow(now):
            taken += 1
            pace.answered()
        else:
            refused += 1
            pace.slower(now)
    assert now < 10 + 4 * 300 / rate
