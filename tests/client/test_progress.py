"""Slow links: bytes that move are progress. All on virtual time."""

import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings._values.errors import CannotConnect
from tests.client.scripted import Peer, a_client, joined
from tests.client.world import ROOM, World, a_world
from tests.ways_in.streams import StreamWay, over_every_way

MB = 1_000_000


class Slow(trio.abc.HalfCloseableStream):
    """A stream with a limited rate: a piece of its bytes comes or goes each time."""

    def __init__(
        self, inner: Any, rate: float, piece: int = 65536, breaks_after: float = math.inf
    ) -> None:
        self.inner = inner
        self.breaks_at = trio.current_time() + breaks_after
        self.rate = rate
        self.piece = piece

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self.inner.receive_some(min(max_bytes or self.piece, self.piece)))
        await trio.sleep(len(data) / self.rate)
        if trio.current_time() > self.breaks_at:
            raise trio.BrokenResourceError
        return data

    async def send_all(self, data: Any) -> None:
        await trio.sleep(len(data) / self.rate)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


def slowly(world: World, rate: float) -> Any:
    async def connect() -> trio.abc.Stream:
        return Slow(await world.connect(), rate)

    return connect


async def big_state(peer: Peer) -> None:
    await peer.hear("join")
    await peer.say(joined(seq=1, snapshot="x" * 3 * MB))
    await peer.wait()


@pytest.mark.parametrize("rate", [250_000, 20_000, 2_000])
async def test_a_big_state_over_a_slow_link_arrives(rate: float, autojump_clock: MockClock) -> None:
    async with a_client(big_state) as client:
        connect = client._open_stream

        async def slow() -> trio.abc.Stream:
            return Slow(await connect(), rate, piece=4096)

        client._open_stream = slow
        start = trio.current_time()
        async with client.join(ROOM, behaviour=None, since=0) as gathering:
            assert gathering.seq == 1
            assert trio.current_time() - start >= 3 * MB / rate
            # Pings are answered meanwhile and afterwards: it's one connection.
            await trio.sleep(100)
            assert gathering.is_connected


async def test_an_answer_behind_much_else_is_waited_for(autojump_clock: MockClock) -> None:
    """The pong comes after ops that take minutes."""

    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(15)
        ops = [{"pad": "x" * MB} for _ in range(3)]
        await peer.say({"type": "forward", "seq": 1, "by": [None] * 3, "ops": ops})
        await peer.wait()

    async with a_client(serve) as client:
        connect = client._open_stream

        async def slow() -> trio.abc.Stream:
            return Slow(await connect(), 20_000)

        client._open_stream = slow
        async with client.join(ROOM) as gathering:
            assert (await anext(gathering)).seq == 1
            assert trio.current_time() > 100


@over_every_way
async def test_bytes_that_go_out_are_progress_too(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    """A sync that takes two minutes to send, and a ping that must wait for it."""
    async with a_world(way) as (world, client):
        client._open_stream = slowly(world, 2_000)
        async with client.join(ROOM) as gathering:
            assert await gathering.submit({"pad": "x" * 240_000}) == 1
            assert trio.current_time() > 100
        assert world.opened == 1


async def test_a_drip_is_no_progress(autojump_clock: MockClock) -> None:
    """A byte every nine seconds can't keep a connection alive for ever."""

    async def drip(peer: Peer) -> None:
        await peer.hear("join")
        await peer.stream.send_all(b"\x81\x7e\x40\x00")
        for _ in range(1000):
            await trio.sleep(9)
            await peer.stream.send_all(b"x")

    async with a_client(drip) as client:
        with pytest.raises(CannotConnect, match="didn't let us in"):
            async with client.join(ROOM):
                pass
        assert trio.current_time() < 30


async def test_pages_that_came_are_kept(autojump_clock: MockClock) -> None:
    """A link breaks each minute: the client continues each time where it was."""
    sinces: list[int] = []
    total = 300

    async def serve(peer: Peer) -> None:
        since = (await peer.hear("join")).get("since", 0)
        sinces.append(since)
        await peer.say(joined(seq=total))
        for seq in range(since + 1, total + 1):
            op = {"n": seq, "pad": "x" * 10_000}
            await peer.say({"type": "forward", "seq": seq, "by": None, "op": op})
        await peer.wait()

    async with a_client(*[serve] * 20, max_pause=1.0) as client:
        connect = client._open_stream

        async def slow() -> trio.abc.Stream:
            return Slow(await connect(), 20_000, piece=4096, breaks_after=60)

        client._open_stream = slow
        async with client.join(ROOM, since=0, behaviour=None) as gathering:
            for seq in range(1, total + 1):
                assert (await anext(gathering)).seq == seq
    assert 2 < len(sinces) < 10
    assert sinces == sorted(set(sinces))


def test_a_client_that_was_held_up_does_not_blame_the_server() -> None:
    """The process is stopped for minutes; the server's pong is there when it wakes."""
    clock = MockClock()

    async def main() -> None:
        async def serve(peer: Peer) -> None:
            peer.pong_delay = 10.0
            await peer.hear("join")
            await peer.say(joined())
            await peer.wait()

        async with a_client(serve) as client, client.join(ROOM) as gathering:
            for _ in range(10):
                await wait_all_tasks_blocked()
                clock.jump(20)
                # A ping is under way. Its answer arrives, and the patience ends, while nothing
                # runs.
                await wait_all_tasks_blocked()
                clock.jump(300)
                await wait_all_tasks_blocked()
                assert gathering.is_connected
            clock.autojump_threshold = 0

    trio.run(main, clock=clock)


@pytest.mark.parametrize("stopped", ["connecting", "joining"])
def test_a_first_join_outlives_a_stop_of_the_process(stopped: str) -> None:
    """A first join makes one attempt; a process that stood still hasn't failed it."""
    clock = MockClock()

    async def main() -> None:
        async def serve(peer: Peer) -> None:
            await peer.hear("join")
            if stopped == "joining":
                await trio.sleep(5)
            await peer.say(joined())
            await peer.wait()

        async with a_client(serve, serve) as client, trio.open_nursery() as nursery:
            connect = client._open_stream

            async def slow() -> trio.abc.Stream:
                if stopped == "connecting":
                    await trio.sleep(5)
                return await connect()

            client._open_stream = slow

            async def join() -> None:
                async with client.join(ROOM) as tournament:
                    assert tournament.is_connected
                nursery.cancel_scope.cancel()

            nursery.start_soon(join)
            await wait_all_tasks_blocked()
            clock.jump(24)
            await wait_all_tasks_blocked()
            clock.autojump_threshold = 0
            await trio.sleep(100)
            raise AssertionError("it isn't in")

    trio.run(main, clock=clock)


async def test_a_page_that_came_with_the_answer_is_progress(autojump_clock: MockClock) -> None:
    """The pauses don't grow while each connection brings a page before it breaks."""
    total = 30

    async def serve(peer: Peer) -> None:
        since = (await peer.hear("join")).get("since", 0)
        page = {"ops": [{"n": since + 1}], "by": [None]}
        await peer.say(joined(seq=total, **page))
        await peer.drop()

    async with a_client(*[serve] * total, first_pause=0.1) as client:
        start = trio.current_time()
        async with client.join(ROOM, since=0) as tournament:
            for seq in range(1, total + 1):
                assert (await anext(tournament)).seq == seq
        assert trio.current_time() - start <= 0.1 * total
