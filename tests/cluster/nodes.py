"""Several servers in one process, each with its own hall and port, that form one by a directory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from attrs import define

from squire_gatherings import Hall, ServerSettings, open_hall, serve
from squire_gatherings._cluster.directory import Directory, ShardDirectory
from squire_gatherings._cluster.intake import Intake
from squire_gatherings._cluster.private import listen_privately
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._rules.shards import shard_of
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.tls import TlsContext


@define(eq=False)
class RunningNode:
    """One of the servers."""

    number: int
    hall: Hall
    server: Serving
    router: NodeRouter
    intake: Intake
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
    directories: Sequence[Directory] | None = None,
) -> AsyncIterator[list[RunningNode]]:
    """Run so many servers, which reach each other by sockets in a folder."""
    known = [worker_node(str(folder), number) for number in range(count)]
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
            directory: Directory = ShardDirectory(known, number)
            if directories is not None:
                directory = directories[number]
            router = NodeRouter(own, directory, reaching)
            intake = Intake(hall, server, nursery)
            reaching.start_soon(intake.run, listen_privately(own.socket))
            server.router = router
            server.resume()
            found.append(RunningNode(number, hall, server, router, intake, reaching.cancel_scope))
        for one in found:
            for node in known:
                if node is not one.router.own:
                    one.router.know(node)
        yield found


async def _reaching(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
