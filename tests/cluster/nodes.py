"""Several servers in one process, each with its own hall and port, that form one by a directory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import define, evolve

from squire_gatherings import Hall, ServerSettings, open_hall, serve
from squire_gatherings._cluster.directory import ShardDirectory
from squire_gatherings._cluster.intake import Intake
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._cluster.peers import PeerIntake
from squire_gatherings._cluster.private import listen_privately
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._rules.shards import shard_of
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.tls import TlsContext
from squire_gatherings._values.nodes import Node

SECRET = b"a secret of this cluster, and of no other"


@define(eq=False)
class RunningNode:
    """One of the servers."""

    number: int
    hall: Hall
    server: Serving
    router: NodeRouter
    intake: Intake
    peers: PeerIntake
    scope: trio.CancelScope
    """Around all that reaches other servers, and is reached by them."""

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.addresses[0][1]}"


def owned_by(number: int, count: int) -> str:
    """Return a gathering that one of `count` shards has."""
    return next(name for one in range(1000) if shard_of(name := f"room-{one}", count) == number)


@asynccontextmanager
async def nodes(
    folder: Path,
    count: int = 2,
    settings: ServerSettings | None = None,
    ssl_context: TlsContext | None = None,
    is_far: bool = False,
    tls: Sequence[PeerTls | None] = (None, None, None),
    waits: bool = True,
) -> AsyncIterator[list[RunningNode]]:
    """Run so many servers, which reach each other by sockets in a folder.

    Or as nodes of several machines do, if they are far from each other; by TLS, where they have it.
    """
    known = [worker_node(str(folder), number) for number in range(count)]
    ports = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in known]
    if is_far:
        known = [
            evolve(
                node,
                machine=node.name,
                address=f"127.0.0.1:{port.socket.getsockname()[1]}",
            )
            for node, port in zip(known, ports, strict=True)
        ]
    found: list[RunningNode] = []
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        for number, own in enumerate(known):
            hall = await stack.enter_async_context(open_hall(close_grace=0.1))
            start = partial(
                serve,
                hall,
                host="127.0.0.1",
                port=0,
                settings=settings,
                ssl_context=ssl_context,
                is_paused=True,
            )
            server = await nursery.start(start)
            assert isinstance(server, Serving)
            reaching = await nursery.start(_reaching)
            directory = ShardDirectory(known, number)
            router = NodeRouter(
                partial(_same, own), directory, reaching, secret=SECRET, tls=tls[number]
            )
            intake = Intake(hall, server, nursery)
            peers = PeerIntake(hall, server, nursery, SECRET, partial(_same, own), tls[number])
            reaching.start_soon(peers.run, [ports[number]])
            reaching.start_soon(intake.run, listen_privately(own.socket))
            server.router = router
            server.resume()
            found.append(
                RunningNode(number, hall, server, router, intake, peers, reaching.cancel_scope)
            )
        for one in found:
            one.router.know(*known)
        for one in found:
            await one.router.wait_known(5 if waits else 0)
        yield found


def _same(node: Node) -> Node:
    return node


async def _reaching(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
