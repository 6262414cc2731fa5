"""Limits belong to the user or the address, not to the connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from wsproto.frame_protocol import Opcode

from squire_gatherings import Hall, Server, ServerSettings, open_hall, serve_stream
from squire_gatherings._server.inbound import Complaint
from squire_gatherings._server.limits import limits_of
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.addresses import address_of
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Joined, Leave
from tests.server.test_hostile import request
from tests.server.test_timing import Client, a_client
from tests.server.test_turns import an_inbound, frame
from tests.support import Recorder
from tests.ways_in.streams import OURS, StreamWay, over_every_way

LIMITED = ServerSettings(rate_limit=0.5, rate_burst=3)


@asynccontextmanager
async def from_peer(
    hall: Hall,
    peer: str | None,
    settings: ServerSettings = LIMITED,
    *,
    way: StreamWay = OURS,
    server: Server | None = None,
) -> AsyncIterator[Client]:
    """Give a client at this address, after its handshake; hang up at the end."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(way.serve, hall, ours, settings, peer, server)
        await theirs.send_all(request())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await theirs.receive_some(1)
        yield Client(theirs)
        await theirs.aclose()


async def exhaust(client: Client) -> None:
    """Join, and go on until the server closes the connection."""
    await client.say(type="join", token="alice")
    await client.hear()
    for number in range(6):
        await client.say(type="fetch", id=str(number))
        assert (await client.hear())["id"] == str(number)
    assert await client.next() == (Opcode.CLOSE, (4029, "too many messages"))


async def refused(client: Client) -> bool:
    await client.say(type="join", token="alice")
    answer = await client.hear()
    if answer["type"] == "joined":
        return False
    assert answer["code"] == "rate_limited"
    assert (await client.next())[1][0] == 4029
    return True


@over_every_way
@pytest.mark.parametrize("has_server", [True, False])
async def test_a_client_that_was_sent_away_is_as_limited_when_it_comes_back(
    has_server: bool, way: StreamWay, autojump_clock: MockClock
) -> None:
    """A hall counts all its clients together, even if the program has no `Server` of its own."""
    async with open_hall() as hall:
        server = Serving((), ()) if has_server else None
        async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
            await exhaust(client)
        for _ in range(3):
            async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
                assert await refused(client)
        async with from_peer(hall, "192.0.2.2", way=way, server=server) as client:
            assert not await refused(client)
        await trio.sleep(2)
        async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
            assert not await refused(client)


async def by_token(token: str | None, gathering_id: str) -> Identity:
    return Identity(token)


@over_every_way
async def test_a_user_is_limited_wherever_it_comes_from(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    server = Serving((), ())
    async with open_hall(authenticate=by_token) as hall:
        async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
            await exhaust(client)
            async with from_peer(hall, "192.0.2.2", way=way, server=server) as other:
                # The join tells the user.
                await other.say(type="join", token="alice")
                await other.hear()
                await other.say(type="fetch", id="7")
                assert await other.hear() == {
                    "type": "error",
                    "id": "7",
                    "code": "rate_limited",
                    "message": "too many messages",
                }
        # Its address isn't charged for a user's messages, nor for its join.
        for name in ("bob", "carol", "dave", "erin", "frank"):
            async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
                await client.say(type="join", token=name)
                assert (await client.hear())["user"] == name


@over_every_way
async def test_a_user_over_its_limit_cannot_join_as_often_as_it_likes(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    server = Serving((), ())
    async with open_hall(authenticate=by_token) as hall:
        joined = 0
        for _ in range(20):
            async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
                joined += not await refused(client)
        # The user's limit allows this many, and the address's limit as many again.
        assert joined == 2 * LIMITED.rate_burst
        await trio.sleep(100)
        async with from_peer(hall, "192.0.2.1", way=way, server=server) as client:
            assert not await refused(client)
        assert len(limits_of(hall)._rates["messages", 0.5, 3]) <= 3


@over_every_way
async def test_a_client_without_a_known_address_is_limited_alone(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    server = Serving((), ())
    async with open_hall() as hall:
        async with from_peer(hall, None, way=way, server=server) as client:
            await exhaust(client)
        async with from_peer(hall, None, way=way, server=server) as client:
            assert not await refused(client)


def test_ipv6_addresses_are_limited_by_their_network() -> None:
    assert address_of(None) is None
    assert address_of("192.0.2.1") == "192.0.2.1"
    assert address_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert (
        address_of("2001:db8:1:2:3::4") == address_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    )
    assert address_of("2001:db8:1:3::4") != address_of("2001:db8:1:2::4")
    assert address_of("fe80::1%eth0") == address_of("fe80::2%eth0")
    assert address_of("not:an:address") == "not:an:address"


@pytest.mark.ours_alone("max_connections is looked at in the handshake, which is the program's")
async def test_streams_count_together(autojump_clock: MockClock) -> None:
    settings = ServerSettings(max_connections=1)
    async with open_hall() as hall, open_hall() as other_hall:
        async with from_peer(hall, None, settings) as client:
            await client.say(type="join")
            await client.hear()
            ours, theirs = memory_stream_pair()
            await theirs.send_all(request())
            await theirs.send_eof()
            await serve_stream(hall, ours, settings)
            assert b"HTTP/1.1 503" in await theirs.receive_some()
            async with from_peer(other_hall, None, settings) as client:
                assert not await refused(client)
        async with from_peer(hall, None, settings) as client:
            assert not await refused(client)


def the_complaint(data: bytes, settings: ServerSettings) -> Complaint:
    inbound = an_inbound(settings)
    inbound.feed(data)
    arrival = inbound.next()
    assert isinstance(arrival, Complaint)
    return arrival


@pytest.mark.parametrize("size", [50, 200, 70_000])
@pytest.mark.parametrize("before", [b"", frame(b"x", Opcode.PING)])
def test_too_big_a_message_is_named(size: int, before: bytes) -> None:
    text = '{"type":"sync","id":"7","base":0,"ops":[{"a":"' + "x" * size
    settings = ServerSettings(max_message_size=80)
    for data in (frame(text), frame(text[:60], fin=False) + frame(text[60:], Opcode.CONTINUATION)):
        complaint = the_complaint(before + data, settings)
        assert (complaint.code, complaint.request_id) == ("too_big", "7")
    assert the_complaint(frame("x" * 100), settings).request_id is None


@over_every_way
async def test_too_many_ops_are_named_and_the_connection_lives(
    way: StreamWay, autojump_clock: MockClock
) -> None:
    async with open_hall(max_ops=3) as hall, a_client(hall, way=way) as (client, _, _):
        await client.say(type="join")
        await client.hear()
        await client.say(type="sync", id="7", base=0, ops=[{}] * 4)
        error = await client.hear()
        assert (error["code"], error["id"]) == ("too_big", "7")
        await client.say(type="sync", id="8", base=0, ops=[{}] * 3)
        assert (await client.hear())["seqs"] == [1, 2, 3]


@over_every_way
async def test_another_max_ops_holds_at_once(way: StreamWay, autojump_clock: MockClock) -> None:
    """For those who are connected, for calls, and for gatherings that were open before."""
    async with open_hall(max_ops=3) as hall, a_client(hall, way=way) as (client, _, _):
        await client.say(type="join")
        await client.hear()
        hall.change_settings(max_ops=2)
        await client.say(type="sync", id="7", base=0, ops=[{}] * 3)
        error = await client.hear()
        assert (error["code"], error["id"]) == ("too_big", "7")
        with pytest.raises(TooBig):
            await hall.submit("room", [{}] * 3)
        hall.change_settings(max_ops=5)
        await client.say(type="sync", id="8", base=0, ops=[{}] * 5)
        assert (await client.hear())["seqs"] == [1, 2, 3, 4, 5]
        assert await hall.submit("room", [{}] * 5, sync_id="9") == (6, 7, 8, 9, 10)
        again = Recorder()
        await hall.join("room", again)
        assert again.of(Joined)[0].max_ops == 5


async def test_a_dropped_message_is_named() -> None:
    inbound = an_inbound(ServerSettings(rate_limit=0.001, rate_burst=1))
    inbound.feed(frame('{"type":"leave"}'))
    assert isinstance(inbound.next(), Leave)
    inbound.feed(frame('{"ops":[{"id":"no"}],"id":"7"}'))
    arrival = inbound.next()
    assert isinstance(arrival, Complaint)
    assert (arrival.code, arrival.request_id, arrival.close_code) == ("rate_limited", "7", None)
