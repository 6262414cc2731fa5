"""Nodes that share a store: whichever is asked, the owner serves, and moves are noticed at once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
import trio
from attrs import define

from squire_gatherings import Hall, open_hall, serve
from squire_gatherings._cli.workers.joining import serve_with_others
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._cluster.router import NodeRouter
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.nodes import Node
from squire_gatherings.client import open_client
from squire_gatherings.testing import FailingStore, SharedMemory
from tests.cluster.test_passing import request
from tests.server.test_server import exchange

ROOM = "friday-night"


@define(eq=False)
class Sharing:
    """One node, as `serve` runs it."""

    hall: Hall
    server: Serving
    router: NodeRouter
    local: LocalNode
    store: FailingStore

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.addresses[0][1]}"


@asynccontextmanager
async def sharing(
    *machines: str, options: Mapping[str, Any] | None = None
) -> AsyncIterator[list[Sharing]]:
    """Run a node on each of these machines, which know each other."""
    shared, numbers = SharedMemory(), count(1)
    said = {"peer_host": "127.0.0.1", "peer_port": 0, "url": "", **(options or {})}
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        found = []
        for machine in machines:
            name = f"node-{next(numbers)}"
            store = FailingStore(shared.store())
            node = Node(id=name, name=name, machine=machine)
            opened = open_hall(store=store, node=node, close_grace=0.1, wall_clock=shared.clock)
            hall = await stack.enter_async_context(opened)
            start = partial(serve, hall, host="127.0.0.1", port=0, is_paused=True)
            server = await nursery.start(start)
            local = local_node_of(hall)
            assert local is not None
            router = await nursery.start(partial(serve_with_others, None, hall, server, said))
            found.append(Sharing(hall, server, router, local, store))
        with trio.fail_after(20):
            # All say where they are, and then all know it.
            for one in (*found, *found):
                await one.local.beats.say_so()
                one.router.update(node for node in one.local.nodes if node.id != one.local.node.id)
            for one in found:
                await one.router.wait_known(5)
        yield found


@pytest.mark.parametrize("machines", [("m", "m"), ("m", "n")])
async def test_any_node_answers(machines: tuple[str, ...]) -> None:
    async with (
        sharing(*machines) as (one, other),
        open_client(one.url) as here,
        open_client(other.url) as there,
        here.join(ROOM) as first,
    ):
        # Nobody had it: the node that was asked has it now.
        assert one.server.connections == 1
        async with there.join(ROOM) as second:
            await first.submit({"n": 1})
            assert await second.submit({"n": 2}) == 2
            assert one.server.connections == 2
            assert (other.router.passed_on, other.router.between) == (
                (1, 0) if machines == ("m", "m") else (0, 1)
            )
            # One that is new goes to nobody else.
            async with there.join("another") as third:
                assert await third.submit({"n": 1}) == 1
                assert other.server.connections == 1


@pytest.mark.parametrize("machines", [("m", "m"), ("m", "n")])
async def test_what_moves_is_found_at_once_and_no_op_is_lost(machines: tuple[str, ...]) -> None:
    async with (
        sharing(*machines) as (one, other),
        open_client(one.url) as client,
        client.join(ROOM) as gathering,
    ):
        for number in range(1, 6):
            assert await gathering.submit({"n": number}) == number
        began = trio.current_time()
        assert await one.local.move([ROOM], other.local.node) == 1
        # Its giver says so: it isn't left until the next beat.
        while ROOM not in other.local.registry.living:
            assert trio.current_time() - began < other.local.beats.interval / 2
            await trio.sleep(0.002)
        assert await gathering.submit({"n": 6}) == 6
        assert other.server.connections == 1


async def test_where_nobody_can_say_who_has_it_a_client_comes_again() -> None:
    async with sharing("m", "m") as (one, _):
        one.store.trouble("owner_of", "full")
        answer = await trio.to_thread.run_sync(exchange, one.url, request(ROOM))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"nobody can say now" in answer
        one.store.heal()
        answer = await trio.to_thread.run_sync(exchange, one.url, request(ROOM) + BYE)
        assert answer.startswith(b"HTTP/1.1 101 ")


BYE = b"\x88\x80\0\0\0\0"


async def test_one_that_drains_opens_nothing_more() -> None:
    async with sharing("m", "m") as (one, other), open_client(one.url) as client:
        async with client.join(ROOM) as gathering:
            await gathering.submit({"n": 1})
            assert await one.hall.drain() == 0
            assert await gathering.submit({"n": 2}) == 2
        async with client.join("new") as new:
            await new.submit({"n": 1})
            assert "new" in other.local.registry.living
            assert not one.local.registry.living
