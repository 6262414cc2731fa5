"""Inside a program that serves WebSockets with `trio-websocket`: the real library at both ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
    wrap_client_stream,
)

from squire_gatherings import Hall, Identity, ServerSettings, attend, open_hall
from squire_gatherings.client import open_client


@asynccontextmanager
async def a_program(
    hall: Hall, settings: ServerSettings | None = None
) -> AsyncIterator[tuple[str, trio.Nursery]]:
    """Serve gatherings under a path of the program's own, to users that a cookie names."""

    async def handle(request: WebSocketRequest) -> None:
        _, _, gathering_id = request.path.rpartition("/")
        cookies = dict(request.headers).get(b"cookie", b"").decode()
        user = cookies.removeprefix("user=") or None
        wanted = request.proposed_subprotocols
        ws = await request.accept(subprotocol=wanted[0] if wanted else None)
        await attend(hall, gathering_id, ws, identity=Identity(user), settings=settings)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
        )
        yield f"ws://127.0.0.1:{server.port}/rooms", nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_websocket(url: str, **how: Any) -> AsyncIterator[WebSocketConnection]:
    """Connect; `open_websocket_url` leaves its stream open where the server closes first."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with (
        await trio.open_tcp_stream(parts.hostname, parts.port) as stream,
        trio.open_nursery() as nursery,
    ):
        yield await wrap_client_stream(nursery, stream, parts.netloc, parts.path, **how)
        nursery.cancel_scope.cancel()


async def say(ws: WebSocketConnection, **message: Any) -> None:
    await ws.send_message(json.dumps(message))


async def hear(ws: WebSocketConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await ws.get_message())
    return message


async def test_clients_converse_until_the_gathering_disperses() -> None:
    async with (
        open_hall() as hall,
        a_program(hall) as (url, _),
        open_websocket(f"{url}/room", extra_headers=[(b"Cookie", b"user=alice")]) as alice,
        open_websocket(f"{url}/room", subprotocols=["squire.v1+json"]) as guest,
    ):
        for ws in (alice, guest):
            await say(ws, type="join")
        assert (await hear(alice))["user"] == "alice"
        assert (await hear(guest))["user"] is None
        await say(guest, type="sync", id="s", base=0, ops=[{"n": 1}])
        assert (await hear(guest))["seqs"] == [1]
        assert (await hear(alice))["op"] == {"n": 1}
        assert await hall.disperse("room")
        for ws in (alice, guest):
            assert (await hear(ws))["reason"] == "admin"
            with pytest.raises(ConnectionClosed) as caught:
                await ws.get_message()
            assert caught.value.reason is not None
            assert caught.value.reason.code == 4001


async def test_many_clients_at_once_each_hear_everything() -> None:
    async with open_hall() as hall, a_program(hall) as (url, _):
        heard: list[list[int]] = []
        here = 0
        all_here = trio.Event()

        async def stay(number: int) -> None:
            nonlocal here
            async with open_websocket(f"{url}/room") as ws:
                await say(ws, type="join")
                assert (await hear(ws))["type"] == "joined"
                here += 1
                if here == 20:
                    all_here.set()
                await all_here.wait()
                await say(ws, type="sync", id=f"s{number}", base=0, ops=[{"n": number}])
                seqs: set[int] = set()
                while len(seqs) < 20:
                    message = await hear(ws)
                    if message["type"] == "synced":
                        seqs.update(message["seqs"])
                    else:
                        ops = message.get("ops", (0,))
                        seqs.update(range(message["seq"], message["seq"] + len(ops)))
                        await say(ws, type="ack", seq=message["seq"] + len(ops) - 1)
                heard.append(sorted(seqs))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(stay, number)
        assert heard == [list(range(1, 21))] * 20


async def test_our_client_reaches_a_server_under_any_path() -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:

        async def handle(request: WebSocketRequest) -> None:
            _, _, gathering_id = request.path.rpartition("/")
            ws = await request.accept(subprotocol=request.proposed_subprotocols[0])
            await attend(hall, gathering_id, ws)

        server = await nursery.start(
            partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
        )
        async with (
            open_client(f"ws://127.0.0.1:{server.port}/some/path") as client,
            client.join("room") as author,
            client.join("room") as reader,
        ):
            assert await author.submit({"n": 1}) == 1
            change = await anext(reader)
            assert (change.seq, change.op) == (1, {"n": 1})
        nursery.cancel_scope.cancel()


async def test_a_client_that_is_gone_is_forgotten() -> None:
    async with open_hall() as hall, a_program(hall) as (url, _):
        async with open_websocket(f"{url}/room") as ws:
            await say(ws, type="join")
            await hear(ws)
            assert hall.snapshot().clients == 1
        with trio.fail_after(10):
            while hall.snapshot().clients:
                await trio.testing.wait_all_tasks_blocked(0.01)
