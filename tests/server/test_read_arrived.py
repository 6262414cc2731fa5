"""`read_arrived`: what lies in the socket is taken in at once, at any moment."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.frame_protocol import FrameProtocol

from squire_gatherings import Hall, Server, ServerSettings, open_hall
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.framing import TURN
from squire_gatherings._server.limits import NOISE_BURST
from squire_gatherings._server.sources import RECEIVE_SIZE
from tests.server.raw import RawClient
from tests.server.test_joining import SlowDoor
from tests.server.test_server import a_server
from tests.server.test_timing import Stuck, a_client
from tests.server.test_turns import PING, frame


@asynccontextmanager
async def joined(
    settings: ServerSettings | None = None,
    **hall_settings: Any,
) -> AsyncIterator[tuple[Hall, Server, RawClient, WebSocketConnection]]:
    async with a_server(settings, **hall_settings) as (hall, server, url):
        client = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        client.say(type="join")
        assert (await trio.to_thread.run_sync(client.hear))["type"] == "joined"
        await wait_all_tasks_blocked()
        [connection] = server._connections
        yield hall, server, client, connection
        client.socket.close()


def processed(hall: Hall) -> int:
    return hall.snapshot().gatherings[0].processed


PAD = "x" * 5000
FETCH = frame('{"type":"fetch","id":"1"}')
SYNC = frame('{"type":"sync","id":"1","base":0,"ops":[{}]}')


@pytest.mark.parametrize(
    ("sent", "messages"),
    [
        (FETCH, 1),
        (FETCH * 50, 50),
        (PING * 500 + FETCH, 1),
        (PING * (TURN + 1) + FETCH + PING * TURN + FETCH, 2),
        (frame(f'{{"type":"fetch","id":"1","pad":"{"x" * 200_000}"}}'), 1),
        (FETCH[:-3], 0),
        (b"", 0),
    ],
)
async def test_everything_in_the_socket_is_taken(sent: bytes, messages: int) -> None:
    async with joined() as (hall, _, client, connection):
        # This is the loop's thread, so no other task has a turn before all is read.
        client.socket.settimeout(0)
        client.socket.sendall(sent)
        client.socket.settimeout(20)
        before = processed(hall)
        connection.read_arrived()
        assert connection._source.receive_nowait() is None
        await wait_all_tasks_blocked()
        assert processed(hall) == before + messages
        # No message is taken twice, and none is stuck.
        client.socket.sendall(FETCH[-3:] if messages == 0 and sent else FETCH)
        heard = await trio.to_thread.run_sync(lambda: [client.hear() for _ in range(messages + 1)])
        assert {message["type"] for message in heard} == {"fetched"}


async def test_only_a_part_of_a_flood_is_taken_at_once() -> None:
    """One look delays nobody for long: 200 syncs of 5,000 bytes, with 10,000 for a message."""
    settings = ServerSettings(max_message_size=10_000)
    async with joined(settings, inbox_limit=1000, inbox_bytes=10**8) as (
        hall,
        _,
        client,
        connection,
    ):
        client.socket.settimeout(0)
        for number in range(200):
            text = json.dumps({"type": "sync", "id": str(number), "base": 0, "ops": [{"x": PAD}]})
            client.socket.sendall(frame(text))
        client.socket.settimeout(20)
        inbox = hall._registry.living["room"].room.inbox
        before, looks, most = inbox.put_in, 1, 0
        while connection.read_arrived():
            most = max(most, inbox.put_in - before)
            looks, before = looks + 1, inbox.put_in
        assert 0 < most <= (10_000 + 2 * RECEIVE_SIZE) // len(PAD)
        assert looks >= 200 // most
        await wait_all_tasks_blocked()
        assert (await hall.fetch("room", since=0)).seq == 200


async def test_what_was_left_for_the_next_turn_is_taken_too() -> None:
    async with joined() as (hall, _, client, connection):
        before = processed(hall)
        client.socket.sendall(PING * (3 * TURN) + FETCH)
        # The rest waits until the first turn is over, and not longer.
        while not connection._inbound.room < 0:
            await trio.lowlevel.checkpoint()
        connection.read_arrived()
        await wait_all_tasks_blocked()
        assert processed(hall) == before + 1
        client.socket.sendall(FETCH)
        heard = await trio.to_thread.run_sync(lambda: [client.hear() for _ in range(2)])
        assert [message["type"] for message in heard] == ["fetched"] * 2


async def test_messages_beyond_the_inbox_limit_are_neither_lost_nor_reordered() -> None:
    store = Stuck()
    store.go = trio.Event()
    async with joined(store=store, inbox_limit=4) as (_, _, client, connection):
        for number in range(1, 21):
            client.say(type="sync", id=str(number), base=0, ops=[{}])
        for _ in range(5):
            connection.read_arrived()
            await trio.lowlevel.checkpoint()
            connection.read_arrived()
        store.go.set()
        heard = await trio.to_thread.run_sync(lambda: [client.hear() for _ in range(20)])
        assert [message["seqs"] for message in heard] == [[n] for n in range(1, 21)]


@pytest.mark.parametrize("how", ["close", "hang up", "nonsense"])
async def test_the_end_is_seen(how: str) -> None:
    async with joined() as (hall, server, client, connection):
        before = processed(hall)
        # A sync counts the clients that are still there to be answered.
        client.socket.sendall(SYNC)
        if how == "close":
            client.socket.sendall(bytes(FrameProtocol(client=True, extensions=[]).close(1000)))
        elif how == "hang up":
            client.socket.close()
        else:
            client.socket.sendall(b"\xff" * 100)
        connection.read_arrived()
        connection.read_arrived()
        await wait_all_tasks_blocked()
        client.socket.close()
        await server.wait_empty()
        connection.read_arrived()
        assert processed(hall) == before + 1
        assert hall.snapshot().clients == 0


async def test_reading_is_safe_while_the_poller_goes_through_its_list() -> None:
    """Each source that is found readable reads all the others, too."""
    async with a_server() as (hall, server, url):

        def connect() -> list[RawClient]:
            clients = [RawClient(f"{url}/gatherings/room") for _ in range(30)]
            for client in clients:
                client.say(type="join")
                client.hear()
            return clients

        clients = await trio.to_thread.run_sync(connect)
        await wait_all_tasks_blocked()
        for connection in server._connections:
            take = connection._take

            def take_and_read(data: bytes, take=take) -> bool:  # type: ignore[no-untyped-def]
                wanted: bool = take(data)
                for other in tuple(server._connections):
                    if other._source._take is not None and other._source._take is not take_and_read:  # type: ignore[attr-defined]
                        other.read_arrived()
                return wanted

            connection._source._take = take_and_read  # type: ignore[attr-defined]
        before = processed(hall)
        for client in clients:
            client.socket.sendall(FETCH)
        await wait_all_tasks_blocked()
        assert processed(hall) == before + 30
        for client in clients:
            client.socket.close()


async def test_reading_is_safe_during_a_join_or_a_close_or_without_a_poller() -> None:
    door = SlowDoor()
    async with a_server(authenticate=door) as (hall, server, url):
        client = await trio.to_thread.run_sync(RawClient, f"{url}/gatherings/room")
        client.say(type="join")
        await door.asked.wait()
        [connection] = server._connections
        client.socket.sendall(FETCH * 2)
        connection.read_arrived()
        door.go.set()
        heard = await trio.to_thread.run_sync(lambda: [client.hear() for _ in range(3)])
        assert [message["type"] for message in heard] == ["joined", "fetched", "fetched"]
        await hall.disperse("room")
        client.socket.sendall(FETCH)
        connection.read_arrived()
        client.socket.close()
    async with open_hall() as hall, a_client(hall) as (memory, server, _):
        await memory.say(type="join")
        await memory.hear()
        [connection] = server._connections
        await memory.say(type="fetch", id="1")
        connection.read_arrived()
        assert (await memory.hear())["type"] == "fetched"


async def test_a_client_that_floods_is_not_read_without_end() -> None:
    async with joined() as (hall, _, client, connection):
        client.socket.settimeout(0)
        client.socket.sendall(PING * (NOISE_BURST + 1000) + FETCH)
        before = processed(hall)
        connection.read_arrived()
        connection.read_arrived()
        assert processed(hall) == before
