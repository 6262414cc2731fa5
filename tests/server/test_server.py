"""The server on real sockets: handshakes, limits, hostile clients, nothing left."""

import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from squire_gatherings import Hall, Server, ServerSettings
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings.client import open_client
from tests.cli.process import PATIENCE
from tests.server.raw import RawClient
from tests.support import logged
from tests.ways_in.ways import Way, every_way, our_server, serving


@asynccontextmanager
async def a_server(
    settings: ServerSettings | None = None, **hall_settings: Any
) -> AsyncIterator[tuple[Hall, Server, str]]:
    async with serving(our_server, settings, **hall_settings) as (hall, server, url):
        assert isinstance(server, Server)
        yield hall, server, url


@asynccontextmanager
async def a_client(url: str, *subprotocols: str) -> AsyncIterator[WebSocketConnection]:
    """A trio-websocket client on a stream of ours, which it sometimes leaves open."""
    host, _, rest = url.removeprefix("ws://").partition(":")
    port, _, path = rest.partition("/")
    async with (
        await trio.open_tcp_stream(host, int(port)) as stream,
        trio.open_nursery() as nursery,
    ):
        yield await wrap_client_stream(nursery, stream, host, f"/{path}", subprotocols=subprotocols)
        nursery.cancel_scope.cancel()


async def in_thread(function: Callable[[], None]) -> None:
    await trio.to_thread.run_sync(function)


def exchange(url: str, request: bytes) -> bytes:
    host, _, port = url.removeprefix("ws://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(request)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


def request(
    target: str = "/gatherings/room", method: str = "GET", drop: str = "", **more: str
) -> bytes:
    headers = {
        "Host": "x",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers.update({name.replace("_", "-"): value for name, value in more.items()})
    headers.pop(drop, None)
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    ("sent", "status", "why"),
    [
        (request("/"), 404, b"gatherings are at"),
        (request("/gatherings/a/b"), 404, b"gatherings are at"),
        (request("/gatherings/"), 400, b"a gathering id is"),
        (request("/gatherings/caf%C3%A9"), 400, b"a gathering id is"),
        (request("/gatherings/" + "a" * 129), 400, b"a gathering id is"),
        (request(Sec_WebSocket_Protocol="chat, squire.v9"), 400, b"squire.v1+json"),
        (request(Sec_WebSocket_Version="12"), 426, b"only 13"),
        (request(method="POST"), 400, b"GET"),
        (request(drop="Upgrade"), 400, b"Upgrade"),
        (request(drop="Sec-WebSocket-Key"), 400, b"Sec-WebSocket-Key"),
        (request(Host="\xff\xfe"), 400, b"not a WebSocket request"),
        (request(drop="Host"), 400, b"Host"),
        (request(Sec_WebSocket_Key="abc"), 400, b"Sec-WebSocket-Key"),
        (b"GET /\x1b[1m\r\x85 what\r\n\r\n", 400, b"not a WebSocket request"),
        (request(X="x" * 9000), 431, b"too long a line"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400, b"not a WebSocket request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431, b"over 16384 bytes"),
    ],
)
async def test_refusals_say_why(sent: bytes, status: int, why: bytes) -> None:
    async with a_server() as (_, _, url):

        def ask() -> None:
            answer = exchange(url, sent)
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert why in answer
            body = answer.partition(b"\r\n\r\n")[2].decode()
            assert body.splitlines(keepends=True) == [body]
            assert body[:-1].isprintable()

        await in_thread(ask)


async def test_what_goes_over_the_wire_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with a_server() as (_, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room?t0ken") as client:
                client.say(type="join", token="t0ken")
                client.hear()

        await in_thread(talk)
        async with open_client(url, token="t0ken") as client, client.join("room"):
            pass
    assert "t0ken" not in logged(caplog)
    assert not [name for name, *_ in caplog.record_tuples if "websockets" in name]


async def hear(client: WebSocketConnection) -> dict[str, object]:
    message: dict[str, object] = json.loads(await client.get_message())
    return message


@every_way
async def test_trio_websocket_can_be_the_client(way: Way) -> None:
    async with (
        serving(way) as (hall, _, url),
        a_client(f"{url}/gatherings/room", "x", "squire.v1+json") as client,
    ):
        assert client.subprotocol == "squire.v1+json"
        await client.send_message('{"type":"join"}')
        assert (await hear(client))["type"] == "joined"
        await hall.submit("room", [{"n": 1}])
        assert await hear(client) == {"type": "forward", "seq": 1, "by": None, "op": {"n": 1}}
        await client.ping()
        await hall.disperse("room")
        assert (await hear(client))["reason"] == "admin"
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert (closed.value.reason.code, closed.value.reason.reason) == (4001, "admin")


@every_way
async def test_errors_leave_the_connection_alive(way: Way) -> None:
    async with serving(way) as (_, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                client.hear()
                for text, code, request_id in (
                    ("{", "bad_message", None),
                    ("[]", "bad_message", None),
                    ('{"type":"dance","id":"1"}', "unknown_type", "1"),
                    ('{"type":"join"}', "already_joined", None),
                    ('{"type":"sync","id":"2","base":0,"ops":[]}', "bad_message", "2"),
                    ('{"type":"sync","id":"3","base":0,"ops":[1]}', "bad_message", "3"),
                    ('{"type":"sync","id":"4","base":9,"ops":[{}]}', "bad_base", "4"),
                    ('{"type":"sync","id":"5","base":0,"ops":[{"n":1e999}]}', "bad_message", "5"),
                    (
                        f'{{"type":"sync","id":"6","base":0,"ops":[{{"n":{10**30}}}]}}',
                        "bad_message",
                        "6",
                    ),
                    ('{"type":"sync","id":"7","ops":' + "[" * 50_000, "bad_message", "7"),
                    ('{"type":"ack","seq":-1}', "bad_message", None),
                    ('{"type":"ack","seq":1}', "bad_base", None),
                ):
                    client.send(TextMessage(data=text))
                    error = client.hear()
                    assert (error["type"], error["code"]) == ("error", code), text
                    assert error.get("id") == request_id, text
                client.send(BytesMessage(data=b"{}"))
                assert client.hear()["code"] == "bad_message"
                client.send(TextMessage(data='{"type":"fetch",', message_finished=False))
                client.send(TextMessage(data='"id":"8"}'))
                assert client.hear() == {
                    "type": "fetched",
                    "id": "8",
                    "seq": 0,
                    "ops": [],
                    "by": [],
                }

        await in_thread(talk)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x81\x85abcd\xff\xff\xff\xff\xff", 1007),
        (b"\x81\x05hello", 1002),
        (b"\xc1\x80abcd", 1002),
        (b"\x83\x80abcd", 1002),
        (b"\x80\x80abcd", 1002),
        (b"\x09\x80abcd", 1002),
        (b"\x88\x81abcd\x00", 1002),
    ],
)
async def test_broken_frames_close_the_connection(sent: bytes, code: int) -> None:
    async with a_server() as (_, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                client.hear()
                client.socket.sendall(sent)
                assert client.hear_close().code == code

        await in_thread(talk)
        await server.wait_empty()


async def test_waiting_until_it_is_empty_is_a_checkpoint() -> None:
    async with a_server() as (_, server, _):
        with trio.testing.assert_checkpoints():
            await server.wait_empty()


@every_way
async def test_too_big_a_message_closes_the_connection(way: Way) -> None:
    async with serving(way, ServerSettings(max_message_size=1000)) as (_, server, url):

        def talk() -> None:
            # If another library reads the frames, we see only whole messages.
            for finished in (True, False) if way is our_server else (True,):
                with RawClient(f"{url}/gatherings/room") as client:
                    client.say(type="join")
                    client.hear()
                    client.send(TextMessage(data="x" * 600, message_finished=False))
                    client.send(TextMessage(data="x" * 600, message_finished=finished))
                    assert client.hear()["code"] == "too_big"
                    assert client.hear_close().code == 1009

        await in_thread(talk)
        await server.wait_empty()


@every_way
async def test_the_first_message_is_join(way: Way) -> None:
    async with serving(way, ServerSettings(join_timeout=0.05)) as (hall, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="leave")
                assert client.hear()["code"] == "join_first"
                assert client.hear_close().code == 1002
            with RawClient(f"{url}/gatherings/room") as client:
                assert client.hear()["code"] == "join_first"
                assert client.hear_close().code == 1002

        await in_thread(talk)
        await server.wait_empty()
        assert hall.gatherings() == ()


@every_way
async def test_messages_over_the_rate_limit_are_dropped_then_the_connection_is_closed(
    way: Way,
) -> None:
    settings = ServerSettings(rate_limit=0.001, rate_burst=3)
    async with serving(way, settings) as (hall, server, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as client:
                client.say(type="join")
                client.hear()
                for number in range(2):
                    client.say(type="fetch", id=str(number))
                    assert client.hear()["type"] == "fetched"
                for _ in range(4):
                    client.say(type="fetch", id="over")
                    assert client.hear()["code"] == "rate_limited"
                assert client.hear_close().code == 4029

        await in_thread(talk)
        await server.wait_empty()
        assert hall.snapshot().gatherings[0].processed == 3


@every_way
async def test_a_slow_reader_is_bounded_and_delays_nobody(way: Way) -> None:
    settings = ServerSettings(max_backlog=100_000, close_timeout=0.1)
    async with serving(way, settings, retry_limit=60.0) as (hall, server, url):

        def join_and_stop_reading() -> RawClient:
            client = RawClient(f"{url}/gatherings/room", receive_buffer=4096)
            client.say(type="join")
            client.hear()
            return client

        slow = await trio.to_thread.run_sync(join_and_stop_reading)
        async with a_client(f"{url}/gatherings/room") as quick:
            await quick.send_message('{"type":"join"}')
            await hear(quick)
            count = 0
            while hall.snapshot().clients == 2:
                count += 1
                await hall.submit("room", [{"n": count, "pad": "x" * 50_000}])
                assert (await hear(quick))["seq"] == count
            # The kernel's buffers take a few MB before ours count.
            assert count < 500
            assert hall.snapshot().clients == 1
        slow.socket.close()
        await server.wait_empty()


@every_way
async def test_file_descriptors_are_given_back(way: Way) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with serving(way, ServerSettings(close_timeout=0.1)) as (hall, server, url):

        def come_and_go() -> None:
            clients = [RawClient(f"{url}/gatherings/room{n % 3}") for n in range(30)]
            for number, client in enumerate(clients):
                if number % 2:
                    client.say(type="join")
                    client.hear()
            for client in clients[::3]:
                client.send(CloseConnection(code=1000))
            for client in clients[1::3]:
                client.socket.close()
            silent.extend(clients[2::3])
            for client in clients[::3]:
                client.socket.close()

        silent: list[RawClient] = []
        await in_thread(lambda: None)
        before = descriptors()
        await in_thread(come_and_go)
        for room in hall.gatherings():
            # Silent clients answer no close frame, so the server cuts them off after the timeout.
            await hall.disperse(room)
        while server.connections > len([c for n, c in enumerate(silent) if not (3 * n + 2) % 2]):
            await trio.lowlevel.checkpoint()
        for client in silent:
            client.socket.close()
        await server.wait_empty()
        await trio.testing.wait_all_tasks_blocked()
        assert descriptors() == before


async def test_a_bug_in_authentication_ends_one_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def authenticate(token: str | None, gathering_id: str) -> Identity:
        if token == "boom":
            raise ZeroDivisionError("boom")
        return ANONYMOUS

    async with a_server(authenticate=authenticate) as (_, _, url):

        def talk() -> None:
            with RawClient(f"{url}/gatherings/room") as other:
                other.say(type="join")
                other.hear()
                with RawClient(f"{url}/gatherings/room") as client:
                    client.say(type="join", token="boom")
                    assert client.hear()["code"] == "internal"
                    assert client.hear_close().code == 1011
                other.say(type="fetch", id="1")
                assert other.hear()["type"] == "fetched"

        await in_thread(talk)
    assert "ZeroDivisionError" in caplog.text
