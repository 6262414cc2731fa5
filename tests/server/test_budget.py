"""The budget of memory holds under attack, and an innocent client is served after it."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, memory_stream_pair

from squire_gatherings import Hall, ServerSettings, open_hall, serve_stream
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._rules.budget import CONNECTION_COST, Budget
from squire_gatherings._server.limits import PATIENCE
from squire_gatherings._server.outbox import Outbox
from squire_gatherings.client import open_client
from tests.server.attacks import reach, served
from tests.server.raw import RawClient
from tests.server.test_hostile import request
from tests.server.test_server import a_server, in_thread
from tests.server.test_timing import Client
from tests.support import examples
from tests.ways_in.ways import Way, every_way, serving

KIB = 1024


@asynccontextmanager
async def a_client(
    hall: Hall, settings: ServerSettings | None = None, peer: str = "192.0.2.1"
) -> AsyncIterator[Client]:
    """Give a client in memory that has joined."""
    async with trio.open_nursery() as nursery:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(lambda: serve_stream(hall, ours, settings, peer=peer))
        await theirs.send_all(request())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            data = await theirs.receive_some(1)
            if not data:
                break
            answer += data
        assert b" 101 " in answer, answer
        client = Client(theirs)
        await client.say(type="join")
        assert (await client.hear())["type"] == "joined"
        yield client
        nursery.cancel_scope.cancel()


async def refused(hall: Hall) -> bytes:
    """Return what a newcomer gets for its request."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(request())
    await theirs.send_eof()
    await serve_stream(hall, ours, peer="192.0.2.9")
    return bytes(await theirs.receive_some())


def unfinished(size: int) -> bytes:
    """Return the beginning of a frame of 250 KiB: its head, and this many bytes."""
    return b"\x81\xff" + (250 * KIB).to_bytes(8, "big") + bytes(4) + b"x" * size


async def test_halves_of_messages_are_counted_and_bounded(autojump_clock: MockClock) -> None:
    async with open_hall(max_memory=2000 * KIB) as hall, AsyncExitStack() as stack:
        budget = quotas_of(hall).budget
        clients = [await stack.enter_async_context(a_client(hall)) for _ in range(20)]
        for number, client in enumerate(clients):
            size = (200 if number % 2 else 20) * KIB
            await client.stream.send_all(unfinished(size))
            await trio.testing.wait_all_tasks_blocked()
            assert budget.used <= 2000 * KIB
        assert hall.snapshot().refused["memory"] >= 2
        # The clients that hold least stay.
        assert hall.snapshot().clients >= 12
        for client in clients[::2]:
            await client.stream.send_all(b"x" * (230 * KIB - 20 * KIB))
    assert budget.parsers == budget.outbound == budget.connections == 0


async def test_an_attack_just_below_the_limit_ends_soon(autojump_clock: MockClock) -> None:
    """An attack that stops just below the limit: newcomers are refused, but not for ever."""
    async with open_hall(max_memory=1000 * KIB) as hall, AsyncExitStack() as stack:
        innocent = await stack.enter_async_context(a_client(hall))
        for _ in range(4):
            attacker = await stack.enter_async_context(a_client(hall))
            await attacker.stream.send_all(unfinished(190 * KIB))
            await trio.testing.wait_all_tasks_blocked()
        assert b"503" in await refused(hall)
        assert b"no memory for one more client" in await refused(hall)
        assert hall.snapshot().clients == 5
        await trio.sleep(PATIENCE)
        async with a_client(hall, peer="192.0.2.8") as newcomer:
            await newcomer.say(type="sync", id="1", base=0, ops=[{"n": 1}])
            assert (await newcomer.next_message())["type"] == "synced"
        # The server closed as few as it had to, and none that held nothing.
        assert hall.snapshot().clients == 4
        await innocent.say(type="fetch", id="f")
        while (await innocent.next_message())["type"] != "fetched":
            pass


async def test_fragments_are_counted(autojump_clock: MockClock) -> None:
    async with open_hall(max_memory=10**9) as hall, a_client(hall) as client:
        budget = quotas_of(hall).budget
        framer = client._framer
        for number in range(5):
            fragment = framer.send_data("x" * 10_000 if number else '{"pad":"', fin=False)
            await client.answer(bytes(fragment))
        await trio.testing.wait_all_tasks_blocked()
        assert 40_000 <= budget.parsers <= 50_000
        await client.answer(bytes(framer.send_data('"}')))
        assert (await client.hear())["code"] == "bad_message"
        assert budget.parsers == 0


@every_way
async def test_a_flood_for_slow_readers(way: Way) -> None:
    """Of readers that take nothing, those with the largest queue are closed; the rest goes on."""
    limits = ServerSettings(max_backlog=100_000 * KIB, max_message_size=400 * KIB)
    most = 6000 * KIB
    async with serving(way, limits, max_outbound=most, retry_limit=60) as (hall, _, url):
        readers: list[RawClient] = []

        def come() -> None:
            for _ in range(5):
                client = RawClient(f"{url}/gatherings/room", receive_buffer=4096)
                readers.append(client)
                client.say(type="join")
                assert client.hear()["type"] == "joined"

        await in_thread(come)
        peak = 0
        async with open_client(url) as client, client.join("room") as author:
            pad = "x" * (200 * KIB)
            for number in range(200):
                await author.submit({"n": number, "pad": pad})
                peak = max(peak, quotas_of(hall).budget.outbound)
                if hall.snapshot().refused:
                    break
            assert set(hall.snapshot().refused) == {"outbound"}
            await author.submit({"n": "last"})
        # One turn may add a forward to each reader before the server closes any.
        assert peak <= most + 5 * 210 * KIB
        for one in readers:
            one.socket.close()
        await served(url)
        while quotas_of(hall).budget.outbound:
            await trio.testing.wait_all_tasks_blocked(0.001)


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        ("max_outbound", "too slow: what waits for all slow readers is too much"),
        ("max_memory", "too slow: the server's memory is used up"),
    ],
)
async def test_a_client_closed_for_its_queue_is_told_why(limit: str, why: str) -> None:
    most: dict[str, Any] = {limit: 500 * KIB}
    async with a_server(retry_limit=60, **most) as (hall, server, url):
        told: list[Any] = []

        def slow() -> None:
            with RawClient(f"{url}/gatherings/room", receive_buffer=4096) as client:
                client.say(type="join")
                client.hear()
                trio.from_thread.run(flood, hall)
                while True:
                    event = client.next()
                    told.append(event)
                    if type(event).__name__ == "CloseConnection":
                        return

        async def flood(hall: Hall) -> None:
            while not hall.snapshot().refused:
                await hall.submit("room", [{"pad": "x" * 100 * KIB}])

        await in_thread(slow)
        assert (told[-1].code, told[-1].reason) == (4008, why)
        assert hall.snapshot().refused.keys() == {limit.removeprefix("max_")}
        await server.wait_empty()
        await reach(server, 0)
        await served(url)


async def test_a_gathering_is_not_opened_and_a_client_not_taken_without_memory(
    autojump_clock: MockClock,
) -> None:
    async with open_hall(max_memory=40 * CONNECTION_COST) as hall, AsyncExitStack() as stack:
        for _ in range(31):
            await stack.enter_async_context(a_client(hall))
        assert b"503" in await refused(hall)
        assert hall.snapshot().refused == {"memory": 1}
        # The clients that are there are served.
        assert await hall.submit("room", [{"n": 1}])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3000), st.integers(0, 3000))))
@settings(max_examples=examples(60), deadline=None)
def test_the_count_is_the_sum_of_the_outboxes(steps: list[tuple[int, int, int]]) -> None:
    """Whatever is written, taken, dropped or closed, the count is the sum of the backlogs."""

    async def run() -> None:
        budget = Budget()
        async with trio.open_nursery() as nursery:
            room = 0

            def take(data: bytes) -> int:
                nonlocal room
                if not room:
                    raise BlockingIOError
                taken = min(room, len(data))
                room -= taken
                return taken

            boxes = [
                Outbox(
                    memory_stream_pair()[0],
                    take,
                    nursery,
                    5000,
                    lambda: None,
                    lambda: None,
                    budget=budget,
                )
                for _ in range(3)
            ]
            for kind, size, free in steps:
                box = boxes[size % 3]
                room = free
                if kind == 0:
                    box.write(b"x" * size)
                elif kind == 1:
                    box.write_soon(b"x" * size)
                elif kind == 2 and not box.closed:
                    box.finish_with(b"x" * size)
                elif kind == 3:
                    await trio.testing.wait_all_tasks_blocked()
                assert budget.outbound == sum(one.backlog for one in boxes)
            for one in boxes:
                one.retire()
            assert budget.outbound == 0
            nursery.cancel_scope.cancel()

    trio.run(run)


async def test_when_no_descriptor_is_left_the_silent_ones_give_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More sockets are silent than the process may have open."""
    resource = pytest.importorskip("resource")
    import os

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with a_server() as (_, server, url):
        host, _, port = url.removeprefix("ws://").partition(":")
        silent = [socket.socket() for _ in range(60)]
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, hard))
        try:
            for one in silent:
                one.connect((host, int(port)))
            while not server.numbers().gave_way:
                await trio.testing.wait_all_tasks_blocked(0.001)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await served(url)
        for one in silent:
            one.close()
        await reach(server, 0)
