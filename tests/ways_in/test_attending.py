"""Attending over a channel in memory, on a virtual clock: as our own server does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from squire_gatherings import (
    BadSetting,
    Hall,
    Identity,
    Role,
    ServerSettings,
    Unauthorized,
    attend_channel,
    open_hall,
)
from tests.support import Fragile, Sum
from tests.ways_in.channels import MemoryChannel

ROOM = "friday-night"


@asynccontextmanager
async def a_guest(hall: Hall, **how: Any) -> AsyncIterator[MemoryChannel]:
    """Give a client whose connection `attend_channel` serves until the block is left."""
    channel = MemoryChannel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(attend_channel, hall, ROOM, channel, **how))
        yield channel
        channel.hang_up()


async def test_clients_converse_until_the_gathering_disperses(autojump_clock: MockClock) -> None:
    async with open_hall(idle_timeout=60.0) as hall:
        alice, bob = Identity("alice"), Identity("bob")
        async with a_guest(hall, identity=alice) as a, a_guest(hall, identity=bob) as b:
            a.say(type="join", client="a" * 16)
            b.say(type="join", client="b" * 16)
            assert (await a.hear())["user"] == "alice"
            assert (await b.hear())["user"] == "bob"
            a.say(type="sync", id="s", base=0, ops=[{"n": 1}])
            assert await a.hear() == {"type": "synced", "id": "s", "seqs": [1]}
            assert await b.hear() == {"type": "forward", "seq": 1, "by": "alice", "op": {"n": 1}}
            b.say(type="ack", seq=1)
            b.say(type="fetch", id="f", since=0)
            assert (await b.hear())["ops"] == [{"n": 1}]
            start = trio.current_time()
            for channel in (a, b):
                [notice] = await channel.hear_rest()
                assert (notice["type"], notice["reason"], notice["idle_for"]) == (
                    "dispersed",
                    "idle",
                    60.0,
                )
                assert channel.closed == [(4001, "idle")]
            assert trio.current_time() == start + 60


async def test_a_client_that_leaves_is_let_go(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        async with a_guest(hall) as channel:
            channel.say(type="join")
            await channel.hear()
            channel.say(type="leave")
            assert await channel.hear_rest() == []
            assert channel.closed == [(1000, "left")]
        assert hall.snapshot().clients == 0


async def test_a_client_that_hangs_up_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        async with a_guest(hall) as channel:
            channel.say(type="join")
            await channel.hear()
            channel.hang_up()
            await wait_all_tasks_blocked()
            assert hall.snapshot().clients == 0
        assert not channel.closed


async def test_a_client_that_hangs_up_while_it_joins_does_not_join(
    autojump_clock: MockClock,
) -> None:
    async def authenticate(token: str | None, gathering: str) -> Identity:
        await trio.sleep(2)
        return Identity("alice")

    async with open_hall(authenticate=authenticate) as hall:
        async with a_guest(hall) as channel:
            channel.say(type="join")
            channel.say(type="sync", id="s", base=0, ops=[{"n": 1}])
            await trio.sleep(1)
            channel.hang_up()
        assert trio.current_time() == 1
        await trio.sleep(10)
        assert hall.snapshot().opened == 0


async def test_messages_during_the_join_are_kept(autojump_clock: MockClock) -> None:
    async def authenticate(token: str | None, gathering: str) -> Identity:
        await trio.sleep(2)
        return Identity(token)

    async with open_hall(authenticate=authenticate) as hall, a_guest(hall) as channel:
        channel.say(type="join", token="alice")
        for number in range(200):
            channel.say(type="sync", id=f"s{number}", base=0, ops=[{"n": number}])
        assert (await channel.hear())["user"] == "alice"
        assert [(await channel.hear())["seqs"] for _ in range(200)] == [[n] for n in range(1, 201)]


async def refuse(token: str | None, gathering: str) -> Identity:
    raise Unauthorized("no")


async def break_down(token: str | None, gathering: str) -> Identity:
    raise KeyError("token")


async def test_a_refused_join_is_told(autojump_clock: MockClock) -> None:
    async with open_hall(authenticate=refuse) as hall, a_guest(hall) as channel:
        channel.say(type="join")
        [error] = await channel.hear_rest()
        assert (error["code"], channel.closed) == ("unauthorized", [(4003, "no")])
    async with open_hall() as hall, a_guest(hall) as channel:
        channel.say(type="join", since=7, epoch="elsewhere")
        [error] = await channel.hear_rest()
        assert (error["code"], channel.closed[0][0]) == ("log_replaced", 4011)


async def test_an_unexpected_error_is_raised_and_told(autojump_clock: MockClock) -> None:
    async with open_hall(authenticate=break_down) as hall:
        channel = MemoryChannel()
        channel.say(type="join")
        with pytest.raises(KeyError):
            await attend_channel(hall, ROOM, channel)
        [error] = await channel.hear_rest()
        assert (error["code"], channel.closed) == ("internal", [(1011, "the server failed")])


async def test_the_first_message_is_join(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        async with a_guest(hall) as channel:
            channel.say(type="ack", seq=0)
            [error] = await channel.hear_rest()
            assert (error["code"], channel.closed[0][0]) == ("join_first", 1002)
        start = trio.current_time()
        async with a_guest(hall) as channel:
            [error] = await channel.hear_rest()
            assert (error["code"], trio.current_time()) == ("join_first", start + 10)


@pytest.mark.parametrize(
    ("data", "code", "request_id"),
    [
        ("nonsense", "bad_message", None),
        ('{"type":"dance","id":"7"}', "unknown_type", "7"),
        ('{"type":"sync","id":"7","base":0,"ops":[1]}', "bad_message", "7"),
        (b"\x80", "bad_message", None),
        ('{"type":"join"}', "already_joined", None),
        ('{"type":"sync","id":"7","base":9,"ops":[{}]}', "bad_base", "7"),
    ],
)
async def test_what_is_wrong_is_told_and_the_stay_goes_on(
    data: str | bytes, code: str, request_id: str | None, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall, a_guest(hall) as channel:
        channel.say(type="join")
        await channel.hear()
        channel.say_raw(data)
        error = await channel.hear()
        assert (error["code"], error.get("id")) == (code, request_id)
        channel.say(type="fetch", id="f")
        assert (await channel.hear())["type"] == "fetched"


async def test_asking_whether_the_server_is_there_is_no_activity(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(idle_timeout=10) as hall, a_guest(hall) as channel:
        channel.say(type="join")
        await channel.hear()
        start = trio.current_time()
        for number in range(3):
            await trio.sleep(3)
            channel.say(type="ping", id=f"p{number}")
            answer = await channel.hear()
            assert (answer["code"], answer["id"]) == ("unknown_type", f"p{number}")
        notice = await channel.hear()
        assert (notice["type"], trio.current_time() - start) == ("dispersed", 10)


async def test_too_big_a_message_ends_it(autojump_clock: MockClock) -> None:
    settings = ServerSettings(max_message_size=1000)
    async with open_hall() as hall, a_guest(hall, settings=settings) as channel:
        channel.say(type="join")
        await channel.hear()
        channel.say(type="sync", id="large", base=0, ops=[{"pad": "x" * 1000}])
        [error] = await channel.hear_rest()
        assert (error["code"], error["id"]) == ("too_big", "large")
        assert channel.closed[0][0] == 1009


async def test_messages_over_the_rate_limit_are_dropped_then_the_channel_is_closed(
    autojump_clock: MockClock,
) -> None:
    settings = ServerSettings(rate_limit=1.0, rate_burst=3)
    async with open_hall() as hall:
        async with a_guest(hall, settings=settings, peer="192.0.2.1") as channel:
            channel.say(type="join")
            await channel.hear()
            for number in range(20):
                channel.say(type="fetch", id=f"f{number}")
            heard = await channel.hear_rest()
            assert [one["id"] for one in heard if one["type"] == "fetched"] == ["f0", "f1"]
            dropped = [one["id"] for one in heard if one["type"] == "error"]
            assert dropped[:2] == ["f2", "f3"]
            assert channel.closed[0][0] == 4029
        # A client that comes back at once has the same limits as before.
        async with a_guest(hall, settings=settings, peer="192.0.2.1") as channel:
            channel.say(type="join")
            assert (await channel.hear())["code"] == "rate_limited"


async def test_a_slow_reader_is_closed_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    settings = ServerSettings(max_backlog=5_000)
    async with open_hall() as hall, a_guest(hall, settings=settings) as channel:
        channel.say(type="join")
        await channel.hear()
        channel.reads = False
        for _ in range(10):
            await hall.submit(ROOM, [{"pad": "x" * 1000}])
        await wait_all_tasks_blocked()
        channel.reads = True
        await trio.sleep(100)
        assert hall.snapshot().clients == 0


async def test_a_client_that_takes_nothing_delays_no_ending(autojump_clock: MockClock) -> None:
    async with open_hall(close_grace=3.0) as hall:
        channel = MemoryChannel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attend_channel, hall, ROOM, channel)
            channel.say(type="join")
            await channel.hear()
            channel.reads = False
            start = trio.current_time()
            assert await hall.disperse(ROOM)
            assert trio.current_time() == start + 3
        # It has ended, too.
        assert trio.current_time() == start + 3


async def test_a_cancelled_attendance_says_goodbye(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        channel = MemoryChannel()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attend_channel, hall, ROOM, channel)
                channel.say(type="join")
                await channel.hear()
                scope.cancel()
        assert channel.closed == [(1001, "server shutting down")]
        assert hall.snapshot().clients == 0


async def test_a_crash_is_told(autojump_clock: MockClock) -> None:
    async with open_hall(behaviour=Fragile) as hall, a_guest(hall) as channel:
        channel.say(type="join")
        await channel.hear()
        channel.say(type="sync", id="s", base=0, ops=[{"boom": 1}])
        [notice] = await channel.hear_rest()
        assert (notice["reason"], channel.closed) == ("crashed", [(1011, "crashed")])


async def test_a_client_may_speak_messagepack(autojump_clock: MockClock) -> None:
    async with open_hall() as hall:
        async with a_guest(
            hall, subprotocol="squire.v1+msgpack", identity=Identity("o", Role.OBSERVER)
        ) as channel:
            channel.say_raw(msgspec.msgpack.encode({"type": "join"}))
            joined = msgspec.msgpack.decode(await channel.outward[1].receive())
            assert joined["role"] == "observer"
        with pytest.raises(BadSetting, match="subprotocol"):
            await attend_channel(hall, ROOM, channel, subprotocol="chess")


class SlowChannel(MemoryChannel):
    """Carries 200 KB a second; `send` lasts until the whole message is over."""

    async def send(self, data: str | bytes) -> None:
        await trio.sleep(len(data) / 200_000)
        await super().send(data)


class Large(Sum):
    def snapshot(self) -> Any:
        return {"total": self.total, "pad": "x" * 12_000_000}


@pytest.mark.parametrize("reads", [True, False])
async def test_a_large_state_over_a_slow_channel_arrives(
    reads: bool, autojump_clock: MockClock
) -> None:
    """Other clients continue; this one isn't given up for ops that it can't acknowledge yet."""
    channel = SlowChannel()
    channel.reads = reads
    async with open_hall(behaviour=Large) as hall, trio.open_nursery() as nursery:
        nursery.start_soon(attend_channel, hall, "room", channel)
        channel.say(type="join")
        await wait_all_tasks_blocked()
        start = trio.current_time()
        for seq in range(1, 100):
            await hall.submit("room", [{"add": 1}])
            await trio.sleep(1)
            if seq == 70 and reads:
                joined = await channel.hear()
                assert joined["type"] == "joined"
                for _ in range(70):
                    heard = await channel.hear()
                    assert heard["type"] == "forward"
            if seq >= 70 and reads:
                channel.say(type="ack", seq=seq)
        assert hall.snapshot().clients == 1
        if not reads:
            # The hall doesn't wait for it for ever.
            await trio.sleep(400)
            assert hall.snapshot().clients == 0
            assert trio.current_time() < start + 600
        nursery.cancel_scope.cancel()
