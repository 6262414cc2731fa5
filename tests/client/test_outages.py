"""Lost connections, servers that go and come back: nothing but pauses. All on virtual time."""

import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import DispersalReason, open_hall
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.errors import (
    CannotConnect,
    GatheringCrashed,
    OpRejected,
    Replaced,
)
from squire_gatherings.client import Gathering
from squire_gatherings.testing import FailingStore
from tests.client.scripted import Peer, a_client, dispersed, joined
from tests.client.test_progress import Slow
from tests.client.world import ROOM, a_world, until
from tests.support import Fragile, slow_store
from tests.ways_in.streams import StreamWay, over_every_way


async def arrive(gathering: Gathering, seq: int) -> None:
    await until(lambda: gathering.seq >= seq, lambda: gathering._session.exchange.news)


async def drop(gathering: Gathering) -> None:
    await until(lambda: not gathering.is_connected, lambda: gathering._session.exchange.news)


@over_every_way
async def test_a_cut_connection_is_a_pause(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way) as (world, client),
        client.join(ROOM) as other,
        client.join(ROOM) as gathering,
    ):
        await gathering.submit({"n": 1})
        world.cut()
        await drop(gathering)
        lost = trio.current_time()
        await other.submit({"n": 2})
        assert await gathering.submit({"n": 3}) == 3
        # Jittered: somewhere within the first pause.
        assert 0 <= trio.current_time() - lost <= 0.1
        assert (await anext(gathering)).seq == 2
        assert [(await anext(other)).seq for _ in range(2)] == [1, 3]
        assert world.opened == 3


@over_every_way
async def test_an_op_that_was_applied_but_never_answered_is_ours(
    way: StreamWay,
    autojump_clock: MockClock,
) -> None:
    """The commit succeeds while the connection is down; the server then forwards our own op."""
    async with (
        a_world(way, store=slow_store()) as (world, client),
        client.join(ROOM) as other,
        client.join(ROOM, optimistic=True) as gathering,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": "mine"})
            await wait_all_tasks_blocked()
            world.cut()
            await drop(gathering)
            nursery.start_soon(other.submit, {"n": "theirs"})
        await arrive(gathering, 2)
        # The op is applied once, shown once, and not as another client's change.
        assert gathering.snapshot() == 2
        assert (await anext(gathering)).op == {"n": "theirs"}
        assert (await anext(other)).op == {"n": "mine"}
        assert world.hall is not None
        assert (await world.hall.fetch(ROOM, since=0)).seq == 2


@over_every_way
async def test_pauses_grow_and_are_bounded(way: StreamWay, autojump_clock: MockClock) -> None:
    attempts: list[float] = []
    async with (
        a_world(way, client_settings={"first_pause": 1.0, "max_pause": 64.0}) as (world, client),
        client.join(ROOM) as gathering,
    ):
        connect = world.connect

        async def count() -> Any:
            attempts.append(trio.current_time())
            return await connect()

        gathering._session.open_stream = count
        hall, world.hall = world.hall, None
        world.cut()
        await drop(gathering)
        down = trio.current_time()
        await trio.sleep(3600)
        world.hall = hall
        await gathering.submit({"n": 1})
        assert trio.current_time() - down <= 3600 + 64
    pauses = [after - before for before, after in zip([down, *attempts], attempts, strict=False)]
    assert all(pause <= min(64, 2**n) for n, pause in enumerate(pauses))
    # Full jitter: half the longest pause on average.
    assert 3600 / 64 < len(pauses) < 10 + 4 * 3600 / 64


@over_every_way
async def test_patience_has_an_end(way: StreamWay, autojump_clock: MockClock) -> None:
    async with (
        a_world(way, client_settings={"patience": 60.0, "max_pause": 5.0}) as (world, client),
        client.join(ROOM) as gathering,
    ):
        world.hall = None
        world.cut()
        await drop(gathering)
        down = trio.current_time()
        with pytest.raises(CannotConnect, match="Connection refused"):
            await gathering.submit({"n": 1})
        assert 60 <= trio.current_time() - down <= 65
        with pytest.raises(CannotConnect):
            await anext(gathering)
        with pytest.raises(CannotConnect):
            await gathering.rejoin()


@over_every_way
async def test_a_server_that_starts_later_is_waited_for(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, client_settings={"join_patience": 60.0}) as (world, client):
        hall, world.hall = world.hall, None
        start = trio.current_time()
        with pytest.raises(CannotConnect):
            async with client.join(ROOM):
                pass
        assert 60 <= trio.current_time() - start <= 90
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def serve_later() -> None:
                await trio.sleep(30)
                world.hall = hall

            async with client.join(ROOM) as gathering:
                assert await gathering.submit({"n": 1}) == 1


@over_every_way
async def test_patience_counts_from_when_it_was_woken(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with (
        a_world(way, client_settings={"patience": 60.0}, idle_timeout=60.0) as (world, client),
        client.join(ROOM) as gathering,
    ):
        assert [change async for change in gathering] == []
        hall, world.hall = world.hall, None
        await trio.sleep(1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
            await trio.sleep(10)
            world.hall = hall
        assert gathering.seq == 1


@over_every_way
async def test_a_client_whose_gathering_moved_reconnects_at_once(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        start = trio.current_time()
        await world.hall.disperse(ROOM, DispersalReason.MOVED)
        assert await gathering.submit({"n": 1}) == 1
        assert trio.current_time() == start
        assert gathering.dispersed is None


@over_every_way
async def test_a_server_that_moves_for_ever_is_no_storm(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM) as gathering:
        hall = world.hall
        assert hall is not None
        for _ in range(100):
            await gathering.rejoin()
            await hall.disperse(ROOM, DispersalReason.MOVED)
            await wait_all_tasks_blocked()
        # Each attempt but the first comes after a pause; the pauses have grown to half a minute.
        assert trio.current_time() > 100
        assert not gathering.is_asleep


@over_every_way
async def test_a_shutdown_is_sat_out(way: StreamWay, autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with a_world(way, store=store) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        await gathering.submit({"n": 1})
        await world.hall.close()
        world.hall = None
        await drop(gathering)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 2})
            await trio.sleep(1000)
            # The server was started anew.
            async with open_hall(store=store) as second:
                world.hall = second
                await arrive(gathering, 2)
        # The iterating program saw no dispersal.
        assert gathering.dispersed is None
        assert not gathering.is_asleep


@over_every_way
async def test_a_crash_is_sat_out(way: StreamWay, autojump_clock: MockClock) -> None:
    async with a_world(way, behaviour=Fragile) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        await gathering.submit({"add": 1})
        for number in range(2, 22):
            # Another client causes the crash; this client is only disturbed.
            with pytest.raises(GatheringCrashed):
                await world.hall.submit(ROOM, [{"boom": True}])
            assert await gathering.submit({"add": 1}) == number
        assert world.hall.snapshot().crashed == 20
        assert world.opened < 200


@over_every_way
async def test_a_crash_of_its_own_making_is_its_own_only_once(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way, behaviour=Fragile) as (world, client), client.join(ROOM) as gathering:
        assert world.hall is not None
        await gathering.submit({"add": 1})
        with pytest.raises(OpRejected, match="crashed over this sync"):
            await gathering.submit({"boom": 1})
        assert world.hall.snapshot().crashed == 1
        assert await gathering.submit({"add": 1}) == 2
        assert world.opened == 2


@over_every_way
async def test_a_client_is_replaced_by_its_newer_self(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with a_world(way) as (world, client), client.join(ROOM, client_id="me" * 8) as older:
        async with client.join(ROOM, client_id="me" * 8) as newer:
            with pytest.raises(Replaced):
                await anext(older)
            with pytest.raises(Replaced):
                await older.submit({"n": 1})
            # It doesn't fight for its place.
            await trio.sleep(1000)
            assert await newer.submit({"n": 1}) == 1
        assert world.opened == 2


@over_every_way
async def test_a_store_that_is_away_is_a_pause(way: StreamWay, autojump_clock: MockClock) -> None:
    store = FailingStore()
    store.trouble("append", "waits", seconds=0.1)
    async with (
        a_world(way, store=store) as (world, client),
        client.join(ROOM) as one,
        client.join(ROOM) as other,
    ):
        await one.submit({"n": 1})
        store.trouble("append", "busy", seconds=0.1)
        async with trio.open_nursery() as nursery:
            for n in range(2, 5):
                nursery.start_soon(one.submit, {"n": n})
            await trio.sleep(100)
            assert one.unanswered == 3
            store.heal()
        assert sorted([(await anext(other)).op["n"] for _ in range(4)]) == [1, 2, 3, 4]
        assert (one.seq, world.opened) == (4, 2)


@over_every_way
async def test_a_server_that_says_nothing_is_lost(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    """The network swallows everything: no byte, no error, in either direction."""
    settings = {"ping_interval": 5.0, "max_pause": 1.0}
    async with (
        a_world(way, client_settings=settings) as (world, client),
        client.join(ROOM) as gathering,
    ):
        world.network.links[-1].stall(up=True, down=True)
        silent = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"n": 1})
        # The ping comes within an interval, and the end within another.
        assert trio.current_time() - silent <= 2 * 5.0 + 0.1
        assert world.opened == 2


@over_every_way
async def test_a_server_that_never_lets_in_is_lost(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Any:
        await trio.sleep(math.inf)

    async with a_world(way, authenticate=authenticate) as (_, client):
        start = trio.current_time()
        with pytest.raises(CannotConnect, match="didn't let us in within 10 s"):
            async with client.join(ROOM):
                pass
        assert 10 <= trio.current_time() - start <= 15


async def test_a_server_that_ends_at_once_for_ever_is_no_storm(autojump_clock: MockClock) -> None:
    """The program asks for something, and each incarnation ends as soon as it begins."""
    opened = 0

    async def serve(peer: Peer) -> None:
        nonlocal opened
        opened += 1
        await peer.hear("join")
        if opened % 2:
            await peer.say(joined())
        await peer.say(dispersed())
        await peer.close(4001)

    async with a_client(*[serve] * 10_000) as client, client.join(ROOM) as gathering:
        with trio.move_on_after(3600):
            await gathering.submit({"n": 1})
        assert opened < 1000


async def test_a_ping_does_not_keep_it_from_reading(autojump_clock: MockClock) -> None:
    """The server reads nothing for a while, in the middle of a big sync, and still talks."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await peer.stream.send_all(b"\x89\x00")
        await peer.say({"type": "forward", "seq": 1, "by": None, "op": {}})
        await trio.sleep(1000)

    class Stuck(Slow):
        async def send_all(self, data: Any) -> None:
            # Small messages get through: the handshake, and the join.
            if len(data) > 10_000:
                await trio.sleep_forever()
            await self.inner.send_all(data)

    async with a_client(serve) as client:
        connect = client._open_stream

        async def stuck() -> trio.abc.Stream:
            return Stuck(await connect(), math.inf)

        client._open_stream = stuck
        async with client.join(ROOM) as gathering, trio.open_nursery() as nursery:
            nursery.start_soon(gathering.submit, {"pad": "x" * 100_000})
            with trio.fail_after(5):
                assert (await anext(gathering)).seq == 1
            nursery.cancel_scope.cancel()
