"""What the log says of connections: each close with its code, each request that is refused."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock
from wsproto.events import CloseConnection

from squire_gatherings import Identity, ServerSettings, attend_channel, open_hall
from squire_gatherings._server.reports import CLOSED_A_SECOND
from tests.hall.test_reports import told
from tests.server.raw import RawClient
from tests.server.test_server import a_server, exchange, in_thread, request
from tests.support import logged
from tests.ways_in.channels import MemoryChannel


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def as_alice(token: str | None, gathering_id: str) -> Identity:
    return Identity("alice")


def leaves(client: RawClient) -> None:
    client.say(type="leave")
    client.hear_close()


def closes(client: RawClient) -> None:
    client.send(CloseConnection(code=4321, reason="\x1b[31m"))
    client.hear_close()


def breaks_off(client: RawClient) -> None:
    client.socket.close()


def breaks_the_protocol(client: RawClient) -> None:
    client.socket.sendall(b"\xff\xff\xff")
    client.hear_close()


@pytest.mark.parametrize(
    ("ends", "code", "by", "why"),
    [
        (leaves, 1000, "server", "left"),
        (closes, 4321, "client", None),
        (breaks_off, 1006, "nobody", None),
        (breaks_the_protocol, 1002, "server", "invalid opcode"),
    ],
)
async def test_each_close_with_its_code_its_address_and_its_user(
    ends: Callable[[RawClient], None],
    code: int,
    by: str,
    why: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(authenticate=as_alice) as (_, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join", client="s3cret", token="t0ken")
                assert client.hear()["type"] == "joined"
                ends(client)

        await in_thread(talk)
        await server.wait_empty()
    [line] = told(caplog, "connection closed")
    assert line.pop("life") >= 0
    assert len(line.pop("incarnation")) > 10
    assert line == {
        "gathering": "room",
        "peer": "127.0.0.1",
        "user": "alice",
        "code": code,
        "by": by,
        "why": why,
        "times": 1,
    }
    for secret in ("s3cret", "t0ken"):
        assert secret not in logged(caplog)


async def test_a_client_that_never_joined(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server() as (_, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="leave")
                assert client.hear()["code"] == "join_first"
                client.hear_close()

        await in_thread(talk)
        await server.wait_empty()
    [line] = told(caplog, "connection closed")
    assert (line["code"], line["why"]) == (1002, "the first message is join")
    assert {"gathering", "incarnation", "user"}.isdisjoint(line)


async def test_clients_whose_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server() as (hall, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
                trio.from_thread.run(hall.close)
                assert client.hear()["reason"] == "shutdown"

        await in_thread(talk)
    [line] = told(caplog, "connection closed")
    assert (line["code"], line["by"], line["why"]) == (1001, "server", "shutdown")


@pytest.mark.parametrize(
    ("sent", "status", "why"),
    [
        (request("/nowhere"), 404, "nothing is here; gatherings are at /gatherings/ID"),
        (request(Origin="https://example.com"), 403, "this origin isn't allowed here"),
        (request("/gatherings/a?token=t0ken"), 400, "a token doesn't go into a URL"),
        (request(drop="Upgrade"), 400, "not a WebSocket request: missing Upgrade header"),
        (b"\x1b[31mPOST\r\n\r\n", 400, "not a WebSocket request"),
        # Whatever is wrong with a request, its token is in no log.
        (request("/gatherings/a;t0ken"), 400, "the path doesn't end with a gathering's id"),
        (request("/t0ken"), 404, "nothing is here"),
        (request("/gatherings/a HTTP/2 t0ken"), 400, "not a WebSocket request"),
        (request(Sec_WebSocket_Key="t0ken"), 400, "not a WebSocket request: invalid Sec-WebSock"),
        (request(Sec_WebSocket_Protocol="t0ken;"), 400, "not a WebSocket request: invalid Sec-Web"),
        (request(Sec_WebSocket_Protocol="t0ken"), 400, "none of the subprotocols is known here"),
        (request(Host="x\r\nCookie sid=t0ken"), 400, "not a WebSocket request"),
        (request(Cookie="t0ken\x00"), 400, "not a WebSocket request"),
        (request(Upgrade="t0ken"), 400, "not a WebSocket request: invalid Upgrade header"),
        (request(Origin="t0ken"), 403, "this origin isn't allowed here"),
        (request(Content_Length="t0ken"), 400, "not a WebSocket request"),
    ],
)
async def test_each_request_that_gets_no_websocket(
    sent: bytes, status: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_server() as (_, _, url):
        await trio.to_thread.run_sync(exchange, url, sent)
    [line] = told(caplog, "request refused")
    assert line.pop("why").startswith(why)
    assert line == {"status": status, "peer": "127.0.0.1", "times": 1}
    assert "t0ken" not in logged(caplog)


async def test_no_place_for_one_more_is_told_at_the_door(caplog: pytest.LogCaptureFixture) -> None:
    async with a_server(ServerSettings(max_connections=1)) as (_, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
                for _ in range(30):
                    assert b" 503 " in exchange(url, request())

        await in_thread(talk)
    lines = told(caplog, "request refused")
    assert {one["status"] for one in lines} == {503}
    assert len(lines) < 30 or len({one["times"] for one in lines}) > 1


# Over a channel.


async def test_a_close_over_a_channel(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_hall(authenticate=as_alice) as hall:

        async def attended(*, leaves: bool) -> None:
            channel = MemoryChannel()
            channel.say(type="join")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attend, channel)
                await channel.hear()
                await trio.sleep(5)
                channel.say(type="leave") if leaves else channel.hang_up()

        async def attend(channel: MemoryChannel) -> None:
            await attend_channel(hall, "room", channel, peer="192.0.2.1")

        await attended(leaves=True)
        await attended(leaves=False)
    first, second = told(caplog, "connection closed")
    same: dict[str, Any] = {
        "gathering": "room",
        "incarnation": first["incarnation"],
        "peer": "192.0.2.1",
        "user": "alice",
        "life": 5,
        "times": 1,
    }
    assert first == same | {"code": 1000, "by": "server", "why": "left"}
    assert second == same | {"code": None, "by": "client", "why": None}


async def test_a_crowd_that_goes_is_counted(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_hall() as hall:

        async def attend() -> None:
            channel = MemoryChannel()
            channel.say(type="join")
            channel.say(type="leave")
            await attend_channel(hall, "room", channel)

        await hall.open("room")
        async with trio.open_nursery() as nursery:
            for _ in range(2 * CLOSED_A_SECOND):
                nursery.start_soon(attend)
        assert len(told(caplog, "connection closed")) == CLOSED_A_SECOND
        await trio.sleep(1)
        await attend()
    lines = told(caplog, "connection closed")
    assert lines[-1]["times"] == CLOSED_A_SECOND + 1


async def test_while_the_level_is_off_nothing_is_looked_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with a_server() as (_, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                client.hear()
                leaves(client)
            exchange(url, request("/nowhere"))

        await in_thread(talk)
        await server.wait_empty()
    assert not caplog.records
