"""The nodes of a run, what they store in, and the proxies in between."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from tests.nemesis.database import Database, database
from tests.nemesis.node import Node
from tests.nemesis.proxy import Mode, Proxy

VISITOR = "visitor"


@define(kw_only=True, eq=False)
class Cluster:
    """Several nodes that form one hall; or one, with a file."""

    folder: Path
    nodes: list[Node]
    ways: dict[str, Proxy] = field(factory=dict)
    """By node: its way to the database."""
    database: Database | None = None
    store: str
    """The URL of the store, for commands that look into it in the end."""
    visitor: Node | None = None
    """One that comes for a while, and goes."""
    busy: set[str] = field(factory=set)
    """The parts to which something is being done."""

    def all_nodes(self) -> list[Node]:
        """Return the nodes, and the one that comes and goes."""
        return [*self.nodes, *([self.visitor] if self.visitor else [])]

    def addresses(self) -> list[tuple[str, int]]:
        """Return where the nodes listen, those that are down among them."""
        return [("127.0.0.1", node.port) for node in self.all_nodes() if node.port]

    def heal(self) -> None:
        """Let everything pass again."""
        for way in self.ways.values():
            way.turn(Mode.PASSING)


@asynccontextmanager
async def cluster(
    folder: Path,
    count: int,
    options: Sequence[str],
    store: str | None = None,
    *,
    started: int | None = None,
) -> AsyncIterator[Cluster]:
    """Start nodes; they are killed in the end, if they are there still.

    Args:
        folder: For what they write.
        count: How many.
        options: Of `serve`.
        store: What they store in; None for a PostgreSQL of their own.
        started: How many of them are started; None: all.
    """
    options = ["--host", "127.0.0.1", *options]
    # All clients come from one address, and are anonymous.
    for limit in ("connections-per-address", "handshakes-per-address", "gatherings-per-user"):
        options += [f"--max-{limit}", "off"]
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            if store is not None:
                all_ = Cluster(folder=folder, nodes=[], store=store)
                for number in range(1, count + 1):
                    all_.nodes.append(Node(f"n{number}", [*options, "--store", store], folder))
            else:
                there = stack.enter_context(database())
                way = Proxy(there.connect)
                await nursery.start(way.serve)
                all_ = Cluster(folder=folder, nodes=[], database=there, store=there.url(way.port))
                for name in (*(f"n{number}" for number in range(1, count + 1)), VISITOR):
                    way = Proxy(there.connect)
                    await nursery.start(way.serve)
                    mine = ["--store", there.url(way.port), "--node-name", name]
                    node = Node(name, [*options, *mine], folder)
                    if name == VISITOR:
                        all_.visitor = node
                    else:
                        all_.nodes.append(node)
                    all_.ways[name] = way
            try:
                for node in all_.nodes[:started]:
                    await node.start()
                yield all_
            finally:
                with trio.CancelScope(shield=True):
                    for node in all_.all_nodes():
                        if node.is_running:
                            await node.kill()
            nursery.cancel_scope.cancel()


async def verify(store: str) -> str:
    """Have the command line verify a store; return what it says if anything is wrong."""
    command = [sys.executable, "-m", "squire_gatherings", "verify", store]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    said = (done.stdout + done.stderr).decode()
    return said if done.returncode else ""
