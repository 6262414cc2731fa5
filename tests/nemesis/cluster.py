"""The nodes of a run, what they store in, and the proxies in between."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from tests.nemesis.database import Database, database
from tests.nemesis.network import Network, network
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
    network: Network | None = None
    """The nodes' networks, where each has one of its own."""
    busy: set[str] = field(factory=set)
    """The parts to which something is being done."""

    def all_nodes(self) -> list[Node]:
        """Return the nodes, and the one that comes and goes."""
        return [*self.nodes, *([self.visitor] if self.visitor else [])]

    def addresses(self) -> list[tuple[str, int]]:
        """Return where nodes listen, those that are down among them; not one that has gone."""
        here = [one for one in self.all_nodes() if one.port]
        return [(one.host, one.port) for one in here if one.name != VISITOR or one.is_running]

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
    has_networks: bool = False,
) -> AsyncIterator[Cluster]:
    """Start nodes; they are killed in the end, if they are there still.

    Args:
        folder: For what they write.
        count: How many.
        options: Of `serve`.
        store: What they store in; None for a PostgreSQL of their own.
        started: How many of them are started; None: all.
        has_networks: Whether each has a network of its own.
    """
    # All clients come from one address, and are anonymous.
    for limit in ("connections-per-address", "handshakes-per-address", "gatherings-per-user"):
        options = [*options, f"--max-{limit}", "off"]
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            if store is not None:
                all_ = Cluster(folder=folder, nodes=[], store=store)
                for number in range(1, count + 1):
                    all_.nodes.append(Node(f"n{number}", [*options, "--store", store], folder))
            else:
                there = stack.enter_context(database())
                place = stack.enter_context(network()) if has_networks else None
                way = Proxy(there.connect)
                await nursery.start(way.serve)
                all_ = Cluster(folder=folder, nodes=[], database=there, store=there.url(way.port))
                all_.network = place
                for name in (*(f"n{number}" for number in range(1, count + 1)), VISITOR):
                    way = Proxy(there.connect, "127.0.0.1" if place is None else place.address)
                    await nursery.start(way.serve)
                    mine = ["--store", there.url(way.port, way.host), "--node-name", name]
                    node = Node(name, [*options, *mine], folder)
                    if place is not None:
                        place.add(name)
                        node.host, node.command = place.address_of(name), place.command(name)
                        node.options = [*node.options, "--peer-host", node.host, "--peer-port", "0"]
                        node.options.append("--insecure")
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
