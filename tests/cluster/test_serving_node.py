"""`serve_node`: halls of programs that are nodes, as a program calls it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from squire_gatherings import (
    BadSetting,
    Hall,
    Node,
    PeerSettings,
    PeerTls,
    StoreUnavailable,
    open_hall,
    serve_node,
)
from squire_gatherings.client import open_client
from squire_gatherings.testing import FailingStore, SharedMemory
from tests.postgres import Postgres

ROOM = "friday-night"
PEERS = PeerSettings(host="127.0.0.1", port=0)


@asynccontextmanager
async def served(hall: Hall, peers: PeerSettings | None = None) -> AsyncIterator[str]:
    """Serve a hall as a program does; give the URL."""
    async with trio.open_nursery() as nursery:
        start = partial(serve_node, hall, host="127.0.0.1", port=0, peers=peers or PeerSettings())
        server = await nursery.start(start)
        yield f"ws://127.0.0.1:{server.addresses[0][1]}"
        nursery.cancel_scope.cancel()


async def say(url: str, count: int) -> int:
    """Submit by one node; return the seq."""
    async with open_client(url) as client, client.join(ROOM) as gathering:
        return await gathering.submit({"n": count})


async def everybody_answers(one: Hall, two: Hall, peers: PeerSettings | None = None) -> None:
    """Have two nodes serve, one after the other begin, and one of them go."""
    async with served(one, peers) as first:
        assert await say(first, 1) == 1
        async with trio.open_nursery() as nursery:
            start = partial(serve_node, two, host="127.0.0.1", port=0)
            server = await nursery.start(partial(start, peers=peers or PeerSettings()))
            second = f"ws://127.0.0.1:{server.addresses[0][1]}"
            assert await say(second, 2) == 2
            assert [hall.gatherings() for hall in (one, two)] == [(ROOM,), ()]
            async with open_client(first, max_pause=0.1) as client, client.join(ROOM) as gathering:
                with trio.fail_after(20):
                    assert await one.drain() == 0
                    assert await gathering.submit({"n": 3}) == 3
            assert [hall.gatherings() for hall in (one, two)] == [(), (ROOM,)]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("machines", [("", ""), ("m", "n")])
async def test_nodes_of_programs_answer_for_each_other(machines: tuple[str, str]) -> None:
    shared = SharedMemory()
    nodes = [
        Node(id=name, name=name, machine=machine)
        for name, machine in zip(("one", "two"), machines, strict=True)
    ]
    async with (
        open_hall(store=shared.store(), node=nodes[0], wall_clock=shared.clock) as one,
        open_hall(store=shared.store(), node=nodes[1], wall_clock=shared.clock) as two,
    ):
        await everybody_answers(one, two, PEERS)


async def test_they_share_a_database(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_hall(store=url) as one, open_hall(store=url) as two:
        await everybody_answers(one, two)


async def test_one_that_has_all_is_served() -> None:
    async with open_hall() as hall, served(hall) as url:
        assert await say(url, 1) == 1


@pytest.mark.parametrize("is_for_peers", [False, True])
async def test_what_cannot_be_listened_on_is_said_plainly(is_for_peers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with open_hall(store=SharedMemory().store()) as hall:
            if is_for_peers:
                peers = PeerSettings(host="127.0.0.1", port=port)
                with pytest.raises(BadSetting, match=f"port {port} for other nodes: "):
                    await serve_node(hall, host="127.0.0.1", port=0, peers=peers)
            else:
                with pytest.raises(OSError, match="in use"):
                    await serve_node(hall, host="127.0.0.1", port=port)
            # Nothing is left of it.
            async with served(hall) as url:
                assert await say(url, 1) == 1


async def test_nobody_comes_in_where_the_others_cannot_be_told() -> None:
    store = FailingStore(SharedMemory().store())
    async with open_hall(store=store) as hall:
        store.trouble("beat", "full")
        with pytest.raises(StoreUnavailable):
            await serve_node(hall, host="127.0.0.1", port=0)
        store.heal()
        async with served(hall) as url:
            assert await say(url, 1) == 1


async def test_one_call_serves_it_at_a_time() -> None:
    async with open_hall(store=SharedMemory().store()) as hall:
        async with served(hall):
            assert hall.nodes[0].socket
            with pytest.raises(BadSetting, match="already"):
                await serve_node(hall, host="127.0.0.1", port=0)
        async with served(hall) as url:
            assert await say(url, 1) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"host": "h"}, "it goes with host"),
        ({"port": 1}, "not all addresses"),
        ({"host": "::", "port": 1}, "not all addresses"),
        ({"host": "h", "port": 65536}, "from 0 to 65535"),
        ({"url": "http://one"}, "the URL of a server"),
    ],
)
def test_where_a_node_cannot_be_reached(said: dict[str, object], why: str) -> None:
    with pytest.raises(BadSetting, match=why):
        PeerSettings(**said)  # type: ignore[arg-type]


def test_files_of_tls_that_are_not_there() -> None:
    with pytest.raises(BadSetting, match="no-such"):
        PeerTls("no-such.pem", None, "no-such-ca.pem")
