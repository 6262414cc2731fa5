"""Nodes that share a store, in one process, each as `serve` runs it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count

import trio
from attrs import define

from squire_gatherings import Hall, ServerSettings, open_hall, serve
from squire_gatherings._cluster.joining import join_nodes
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._cluster.peer_settings import PeerSettings
from squire_gatherings._cluster.router import NodeRouter
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.nodes import Node
from squire_gatherings.testing import FailingStore, SharedMemory


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
    *machines: str,
    settings: ServerSettings | None = None,
) -> AsyncIterator[list[Sharing]]:
    """Run a node on each of these machines, which know each other."""
    shared, numbers = SharedMemory(), count(1)
    peers = PeerSettings(host="127.0.0.1", port=0)
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
            start = partial(
                serve, hall, host="127.0.0.1", port=0, settings=settings, is_paused=True
            )
            server = await nursery.start(start)
            local = local_node_of(hall)
            assert local is not None
            router = await nursery.start(partial(join_nodes, hall, server, peers))
            found.append(Sharing(hall, server, router, local, store))
        with trio.fail_after(20):
            # All say where they are, and then all know it.
            for one in (*found, *found):
                await one.local.beats.say_so()
                one.router.update(node for node in one.local.nodes if node.id != one.local.node.id)
            for one in found:
                await one.router.wait_known(5)
        yield found
