"""A server that was kept from listening reads first what has arrived, by whichever reader."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import WebSocketRequest, serve_websocket
from wsproto.frame_protocol import FrameProtocol

from squire_gatherings import Hall, Server, ServerSettings, attend, open_hall, serve, serve_stream
from tests.server.raw import RawClient
from tests.server.test_hostile import request

SETTINGS = ServerSettings(handshake_timeout=3, join_timeout=3, ping_interval=1000)


@asynccontextmanager
async def serving(how: str, hall: Hall) -> AsyncIterator[str]:
    """Serve a hall by our server, by a task for each stream, or by `trio-websocket`."""

    async def attend_one(asked: WebSocketRequest) -> None:
        ws = await asked.accept()
        await attend(hall, asked.path.rpartition("/")[2], ws, settings=SETTINGS)

    async def serve_one(stream: trio.SocketStream) -> None:
        await serve_stream(hall, stream, SETTINGS)

    async with trio.open_nursery() as nursery:
        port: int
        if how == "server":
            server: Server = await nursery.start(
                partial(serve, hall, host="127.0.0.1", port=0, settings=SETTINGS)
            )
            port = server.addresses[0][1]
        elif how == "stream":
            [listener] = await nursery.start(
                partial(trio.serve_tcp, serve_one, 0, host="127.0.0.1")
            )
            port = listener.socket.getsockname()[1]
        else:
            program = await nursery.start(
                partial(serve_websocket, attend_one, "127.0.0.1", 0, ssl_context=None)
            )
            port = program.port
        yield f"ws://127.0.0.1:{port}/gatherings/room"
        # Closing handshakes that nobody answers take their time.
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.autojump_threshold = 0
        nursery.cancel_scope.cancel()


async def connect(url: str) -> RawClient:
    return await trio.to_thread.run_sync(RawClient, url)


async def join(url: str) -> RawClient:
    client = await connect(url)
    client.say(type="join")
    assert (await trio.to_thread.run_sync(client.hear))["type"] == "joined"
    await wait_all_tasks_blocked()
    return client


def sync(size: int) -> bytes:
    message = {"type": "sync", "id": "s", "base": 0, "ops": [{"pad": "x" * size}]}
    return bytes(FrameProtocol(client=True, extensions=[]).send_data(json.dumps(message)))


PING = bytes(FrameProtocol(client=True, extensions=[]).ping(b"hello"))
WAYS = ["server", "stream", "trio-websocket"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("sent", [sync(200_000), PING * 20 + sync(1)], ids=["big", "behind pings"])
async def test_a_sync_that_lies_unread_when_the_deadline_is_seen_late_is_taken(
    how: str, sent: bytes, mock_clock: MockClock
) -> None:
    async with open_hall(idle_timeout=10.0) as hall, serving(how, hall) as url:
        client = await join(url)
        sending = partial(client.socket.sendall, sent)
        # No other task gets a turn until the kernel has all that it takes.
        client.socket.settimeout(0.05)
        try:
            sending()
        except TimeoutError:
            pytest.skip("the kernel takes too little")
        client.socket.settimeout(20)
        mock_clock.jump(24.0)
        assert (await trio.to_thread.run_sync(client.hear))["type"] == "synced"
        client.socket.close()


@pytest.mark.parametrize("how", ["server", "stream"])
async def test_the_rest_of_a_message_is_waited_for(how: str, mock_clock: MockClock) -> None:
    """A large message stops when the window is full, until the server reads again."""
    async with open_hall(idle_timeout=10.0) as hall, serving(how, hall) as url:
        client = await join(url)
        message = sync(1000)
        client.socket.sendall(message[:500])
        mock_clock.jump(24.0)
        await wait_all_tasks_blocked()
        [there] = hall._registry.living["room"].room.clients.values()
        assert there.receiving
        client.socket.sendall(message[500:])
        while there.receiving:
            await trio.to_thread.run_sync(lambda: None)
        mock_clock.jump(0.05)
        assert (await trio.to_thread.run_sync(client.hear))["type"] == "synced"
        # The server doesn't wait for ever.
        client.socket.sendall(message[:500])
        while not there.receiving:
            await trio.to_thread.run_sync(lambda: None)
        mock_clock.jump(24.0)
        for _ in range(30):
            await wait_all_tasks_blocked()
            mock_clock.jump(0.05)
        assert (await trio.to_thread.run_sync(client.hear))["type"] == "dispersed"
        client.socket.close()


@pytest.mark.parametrize("how", WAYS)
async def test_a_join_that_lay_unread_is_taken(how: str, mock_clock: MockClock) -> None:
    """Another client's join keeps the gathering open, and is in time itself."""
    async with open_hall(idle_timeout=10.0) as hall, serving(how, hall) as url:
        there, coming = await join(url), await connect(url)
        await wait_all_tasks_blocked()
        [before] = hall.snapshot().gatherings
        coming.say(type="join")
        mock_clock.jump(24.0)
        assert (await trio.to_thread.run_sync(coming.hear))["type"] == "joined"
        [after] = hall.snapshot().gatherings
        assert after.incarnation == before.incarnation
        assert after.clients == 2
        # The server still sends away a client that says nothing.
        silent = await connect(url)
        await wait_all_tasks_blocked()
        mock_clock.jump(3.0)
        assert (await trio.to_thread.run_sync(silent.hear))["code"] == "join_first"
        for client in (there, coming, silent):
            client.socket.close()


@pytest.mark.parametrize("rest_comes", [True, False])
async def test_a_handshake_that_lay_unread_is_taken(
    rest_comes: bool, mock_clock: MockClock
) -> None:
    async with open_hall() as hall, serving("server", hall) as url:
        port = int(url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(20)
            client.sendall(request()[:20])
            # By now the server must have accepted it.
            await trio.to_thread.run_sync(lambda: None)
            await wait_all_tasks_blocked()
            if rest_comes:
                client.sendall(request()[20:])
            mock_clock.jump(24.0)
            await wait_all_tasks_blocked()
            if not rest_comes:
                mock_clock.jump(3.0)
            answer = await trio.to_thread.run_sync(client.recv, 12)
            assert answer == (b"HTTP/1.1 101" if rest_comes else b"")


async def test_a_thousand_that_are_late_share_their_turns(mock_clock: MockClock) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_hall(idle_timeout=10.0) as hall, trio.open_nursery() as nursery:
        for number in range(1000):
            await hall.open(f"room-{number}")
        await wait_all_tasks_blocked()
        mock_clock.jump(24.0)
        nursery.start_soon(count)
        while hall.gatherings():
            await trio.lowlevel.checkpoint()
        assert turns < 1000, turns
        nursery.cancel_scope.cancel()
