"""Connections go on in another process: no byte is lost or repeated, in either direction."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Frame, Opcode

from squire_gatherings import ServerSettings, open_hall, serve
from squire_gatherings._hall.arriving import Arriving
from squire_gatherings._hall.moving import (
    NotAtRest,
    Telling,
    hall_state,
    leave,
    living,
)
from squire_gatherings._handover.messages import Changes
from squire_gatherings._server.moving import Arrivals, Departures
from squire_gatherings._server.serving import Serving
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.handover import (
    ConnectionState,
    HallState,
    Newcomer,
)
from tests.handover.moves import changes
from tests.server.raw import RawClient

SETTINGS = ServerSettings()
States = tuple[HallState, Changes, list[ConnectionState], list[Newcomer]]
DECODER = msgspec.msgpack.Decoder(States)


class World:
    """A server, and the next one, which goes on for it, in one process."""

    def __init__(self, stack: AsyncExitStack, settings: ServerSettings = SETTINGS) -> None:
        self.stack = stack
        self.settings = settings
        self.store = MemoryStore()
        self.listeners: list[socket.socket] = []

    async def start(self, *, is_paused: bool = False) -> None:
        self.hall = await self.stack.enter_async_context(
            open_hall(store=self.store, retry_limit=600.0)
        )
        self.nursery = await self.stack.enter_async_context(_cancelled(trio.open_nursery()))
        self.server: Serving = await self.nursery.start(
            partial(
                serve,
                self.hall,
                host="127.0.0.1",
                port=0,
                settings=self.settings,
                listeners=self.listeners,
                is_paused=is_paused,
            )
        )

    @property
    def url(self) -> str:
        host, port = self.server.addresses[0]
        return f"ws://{host}:{port}/gatherings/friday-night"

    async def move(self) -> None:
        """As `Leaving` and `Takeover` do it, without the channel."""
        hall, server = self.hall, self.server
        departures = Departures(server)
        newcomers: list[tuple[Newcomer, int]] = []
        server.pause()
        while True:
            more = [(one, os.dup(plain.fileno())) for one, plain in departures.newcomers()]
            newcomers += more
            try:
                telling = Telling(hall, departures.number_of)
                found = (
                    hall_state(hall),
                    changes(telling, living(hall), at_rest=True),
                    departures.states(0.0)[0],
                    [one for one, _ in newcomers],
                )
            except NotAtRest:
                await trio.sleep(0.001)
                continue
            if not (more or server.coming):
                break
            await trio.sleep(0.001)
        state, inside, states, announced = DECODER.decode(msgspec.msgpack.encode(found))
        self.listeners = [one.dup() for one in server.listeners]
        leave(hall)
        departures.leave()
        server.stop_accepting()
        server.resume()
        await hall.close()
        await server.wait_empty()
        await self.start(is_paused=True)
        arrivals = Arrivals(self.hall, self.server, self.settings, self.nursery)
        for one, (_, descriptor) in zip(announced, newcomers, strict=True):
            arrivals.welcome(one, descriptor)
        arriving = Arriving(self.hall)
        await arrivals.wait_ready()
        arrivals.admit(
            await arriving.follow(inside.rooms, inside.asleep, [], arrivals.connections, 0.0)
        )
        arriving.begin(state)
        arrivals.begin(states, 0.0)
        self.server.resume()


@asynccontextmanager
async def _cancelled(manager: Any) -> AsyncIterator[trio.Nursery]:
    async with manager as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_world(settings: ServerSettings = SETTINGS) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        world = World(stack, settings)
        await world.start()
        yield world


async def connect(world: World, **options: Any) -> RawClient:
    return await trio.to_thread.run_sync(partial(RawClient, world.url, **options))


async def hear(client: RawClient) -> dict[str, Any]:
    return await trio.to_thread.run_sync(client.hear)


def masked(text: str, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, text.encode(), fin=fin).serialize(mask=True))


async def test_a_message_that_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is cut, and whatever else comes before and after it."""
    text = '{"type":"sync","id":"1","base":0,"ops":[{"text":"' + "x" * 300 + '"}]}'
    begins, rest = text[:40], text[40:]
    whole = masked(text)
    fragments = masked(begins, fin=False) + masked("", Opcode.PING) + masked(rest, Opcode.CONT)
    for message in (whole, fragments):
        for cut in (1, 3, 6, 7, 8, 9, 30, 50, 60, 70, len(message) - 1):
            async with a_world() as world:
                with await connect(world) as client:
                    client.say(type="join")
                    joined = await hear(client)
                    client.socket.sendall(message[:cut])
                    await wait_all_tasks_blocked(0.01)
                    await world.move()
                    client.socket.sendall(message[cut:] + masked('{"type":"fetch","id":"2"}'))
                    synced = await hear(client)
                    assert (synced["type"], synced["seqs"]) == ("synced", [1]), (synced, cut)
                    fetched = await hear(client)
                    assert fetched["id"] == "2"
                    assert world.hall.explain("friday-night").incarnation == joined["incarnation"]


async def test_a_slow_reader_gets_every_byte_once() -> None:
    async with a_world(ServerSettings(max_backlog=10 * 1024 * 1024)) as world:
        with await connect(world, receive_buffer=2048) as slow, await connect(world) as author:
            slow.say(type="join")
            await hear(slow)
            author.say(type="join")
            await hear(author)
            count = 60
            for number in range(count):
                text = f"{number}" * 20_000
                author.say(type="sync", id=str(number), base=0, ops=[{"text": text[:20_000]}])
                await hear(author)
                if number in (20, 40):
                    await world.move()
            await world.move()
            forwarded: list[int] = []
            while len(forwarded) < count:
                message = await hear(slow)
                if message["type"] == "forward" and message["seq"] not in forwarded:
                    forwarded.append(message["seq"])
                elif message["type"] == "forward" and "ops" in message:
                    forwarded += [message["seq"] + at for at in range(len(message["ops"]))]
            assert forwarded == list(range(1, count + 1))


@pytest.mark.parametrize("cut", [0, 1, 20, 100, None])
async def test_who_stands_at_the_door_comes_in(cut: int | None) -> None:
    """Somebody who has said nothing, or a part of the request, or who hasn't said `join`."""
    async with a_world() as world:
        host, port = world.server.addresses[0]
        request = (
            f"GET /gatherings/friday-night HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        stream = await trio.open_tcp_stream(host, port)
        async with stream:
            join = masked('{"type":"join"}')
            await stream.send_all(request if cut is None else request[:cut])
            if cut is None:
                await stream.receive_some()
                await stream.send_all(join[:9])
            await wait_all_tasks_blocked(0.02)
            await world.move()
            await world.move()
            answer = b""
            if cut is None:
                await stream.send_all(join[9:])
            else:
                await stream.send_all(request[cut:] + join)
            while b'"joined"' not in answer:
                more = await stream.receive_some()
                assert more, answer
                answer += more
            assert (b" 101 " in answer) is (cut is not None)
            assert world.hall.snapshot().clients == 1


async def test_who_comes_meanwhile_waits_in_the_queue() -> None:
    async with a_world() as world:
        world.server.pause()
        host, port = world.server.addresses[0]
        with socket.socket() as early:
            early.setblocking(False)
            early.connect_ex((host, port))
            await wait_all_tasks_blocked(0.01)
            assert world.server.numbers().handshakes == 0
            await world.move()
            await wait_all_tasks_blocked(0.05)
            assert world.server.numbers().handshakes == 1


async def test_limits_are_counted_anew() -> None:
    async with a_world() as world:
        with await connect(world) as one, await connect(world) as other:
            for client in (one, other):
                client.say(type="join")
                await hear(client)
            before = world.server.numbers()
            await world.move()
            await wait_all_tasks_blocked(0.01)
            after = world.server.numbers()
            assert (after.connections, after.clients) == (before.connections, before.clients)
            assert after.connections == 2
            one.socket.close()
            other.say(type="leave")
            await trio.to_thread.run_sync(other.end)
            await world.server.wait_empty()
            numbers = world.server.numbers()
            assert (numbers.connections, numbers.clients, numbers.memory) == (0, 0, numbers.memory)
