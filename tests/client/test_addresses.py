"""Servers at any path, in programs of others, with headers of the client's own."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock
from trio_websocket import WebSocketRequest, serve_websocket

from squire_gatherings import Hall, Identity, Unauthorized, attend, open_hall
from squire_gatherings._client.address import parse_address
from squire_gatherings.client import BadSetting, CannotConnect, open_client
from tests.client.scripted import Peer, a_client, joined
from tests.client.world import ROOM
from tests.support import logged


@define(eq=False)
class Elsewhere:
    """A program that serves WebSockets with trio-websocket, with routes and cookies of its own."""

    hall: Hall
    port: int = 0
    paths: list[str] = field(factory=list)

    async def handle(self, request: WebSocketRequest) -> None:
        self.paths.append(request.path)
        headers = {name.lower(): value.decode() for name, value in request.headers}
        key = headers.get(b"x-key")
        if key is None:
            await request.reject(403, body=b"no key")
            return
        ws = await request.accept(subprotocol=request.proposed_subprotocols[0])
        await attend(self.hall, ROOM, ws, identity=Identity(key))


@asynccontextmanager
async def a_server() -> AsyncIterator[Elsewhere]:
    async with open_hall() as hall, trio.open_nursery() as nursery:
        elsewhere = Elsewhere(hall)
        server = await nursery.start(
            partial(serve_websocket, elsewhere.handle, "127.0.0.1", 0, ssl_context=None)
        )
        elsewhere.port = server.port
        yield elsewhere
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("", f"/gatherings/{ROOM}"),
        ("/", f"/gatherings/{ROOM}"),
        ("/a/b", f"/a/b/gatherings/{ROOM}"),
        ("/a%20b/", f"/a%20b/gatherings/{ROOM}"),
        ("/live/{gathering}/socket", f"/live/{ROOM}/socket"),
        ("/live/{gathering}/", f"/live/{ROOM}/"),
        ("/socket;v=1?room={gathering}&v=2", f"/socket;v=1?room={ROOM}&v=2"),
        ("?room={gathering}", f"/?room={ROOM}"),
        ("/{gathering}?again={gathering}", f"/{ROOM}?again={ROOM}"),
    ],
)
async def test_a_server_is_reached_under_any_path(where: str, path: str) -> None:
    async with (
        a_server() as server,
        open_client(f"ws://127.0.0.1:{server.port}{where}", headers={"X-Key": "alice"}) as client,
        client.join(ROOM) as gathering,
    ):
        assert await gathering.submit({"n": 1}) == 1
        assert server.paths == [path]
        fetched = await server.hall.fetch(ROOM, since=0)
        assert fetched.by == ("alice",)


@pytest.mark.parametrize(
    "url",
    [
        "ws://h/?token=secret",
        "ws://h/{gathering}#secret",
        "ws://h/{secret}",
        "ws://h/{gathering}/{secret}",
        "ws://h/{gathering}}secret",
        "ws://h/{gathering}?secret=a b",
        "ws://h/{gathering}?secret=ä",
        "ws://h/{gathering}?secret=\x7f",
        "ws://u:secret@h/{gathering}",
    ],
)
def test_a_url_that_says_nothing_sensible_is_refused(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


def test_where_a_host_is_no_name_in_ascii() -> None:
    assert parse_address("wss://bücher.example").uri("a").host == "xn--bcher-kva.example"
    assert parse_address("wss://[::1]:80").uri("a").host == "::1"


async def test_an_error_tells_neither_path_nor_query(autojump_clock: MockClock) -> None:
    async def refuse() -> trio.abc.Stream:
        raise ConnectionRefusedError(111, "Connection refused")

    async with open_client("ws://h/secret/{gathering}?secret=1", open_stream=refuse) as client:
        with pytest.raises(CannotConnect) as caught:
            async with client.join(ROOM):
                pass
    assert "can't reach ws://h:80" in str(caught.value)
    assert "secret" not in str(caught.value)


# Headers.


async def test_a_server_that_wants_a_header_says_no_without() -> None:
    async with a_server() as server, open_client(f"ws://127.0.0.1:{server.port}") as client:
        with pytest.raises(CannotConnect, match="the server answered 403: no key"):
            async with client.join(ROOM):
                pass


async def test_headers_are_asked_for_on_each_connection() -> None:
    keys = iter(["alice", "bob"])

    async def fresh() -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {"X-Key": next(keys)}

    async with (
        a_server() as server,
        open_client(f"ws://127.0.0.1:{server.port}", headers=fresh) as client,
        client.join(ROOM) as gathering,
    ):
        await gathering.submit({"n": 1})
        assert await server.hall.disperse(ROOM)
        assert [change async for change in gathering] == []
        await gathering.submit({"n": 2})
        assert (await server.hall.fetch(ROOM, since=0)).by == ("alice", "bob")


async def test_a_headers_function_that_fails_is_a_pause_or_the_end(
    autojump_clock: MockClock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")
        await peer.say(joined())
        await trio.sleep(1)
        await peer.drop()

    outcomes: list[Any] = [OSError("away")]

    def headers() -> dict[str, str]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return {"X-Key": outcome}

    async with a_client(serve, serve, headers=headers) as client:
        with pytest.raises(OSError, match="away"):
            async with client.join(ROOM):
                pass
        outcomes[:] = ["first", OSError("away"), OSError("away"), "second", Unauthorized("out")]
        async with client.join(ROOM) as gathering:
            with pytest.raises(Unauthorized, match="out"):
                await anext(gathering)
    assert outcomes == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "s3cret\r\nY: 1"},
        {"X": "s3cret\n"},
        {"X": "s3cret\0"},
        {"X": "s3crét"},
        {"X": b"s3cret"},
        {"X s3cret": "1"},
        {"X:s3cret": "1"},
        {"": "s3cret"},
        {7: "s3cret"},
        {"host": "s3cret"},
        {"Connection": "s3cret"},
        {"UPGRADE": "s3cret"},
        {"Sec-WebSocket-Protocol": "s3cret"},
        {"sec-websocket-key": "s3cret"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        ["s3cret"],
        "s3cret",
        7,
    ],
)
async def test_headers_are_checked_without_being_told(
    headers: Any, autojump_clock: MockClock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.hear("join")

    async def join(given: Any) -> None:
        async with a_client(serve, headers=given) as client, client.join(ROOM):
            pass

    for given in (headers, lambda: headers):
        with pytest.raises(BadSetting) as caught:
            await join(given)
        assert "s3cret" not in str(caught.value)


async def test_nothing_logs_a_header(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "squire_gatherings")
    caplog.set_level(logging.DEBUG, "websockets")
    async with (
        a_server() as server,
        open_client(
            f"ws://127.0.0.1:{server.port}", headers={"X-Key": "alice", "Cookie": "s3cret"}
        ) as client,
        client.join(ROOM) as gathering,
    ):
        await gathering.submit({"n": 1})
        assert "s3cret" not in repr(client)
    assert "s3cret" not in logged(caplog)


# Ids.


@pytest.mark.parametrize("client_id", ["", "me", "x" * 15, "x" * 129, "\udcff" * 16, 7])
async def test_a_client_id_that_can_be_guessed_is_refused(
    client_id: Any, autojump_clock: MockClock
) -> None:
    async with a_client() as client:
        with pytest.raises(BadSetting, match="client_id"):
            async with client.join(ROOM, client_id=client_id):
                pass
