"""Joining: a process brings clients to the others, and takes in those that they bring.

The others are the workers of one server, whose files are shards, or all nodes that share a
database.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import trio

from squire_gatherings._cli.nodes import peer_tls_of
from squire_gatherings._cli.workers.worker import Worker
from squire_gatherings._cluster.directory import ShardDirectory
from squire_gatherings._cluster.intake import Intake
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._cluster.node_directory import NodeDirectory, SecretStore
from squire_gatherings._cluster.private import listen_privately, private_folder
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._server.listening import listen
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.nodes import Node

PATIENCE = 3.0
"""How many seconds the others may take until it serves without them."""


def has_others(worker: Worker | None, hall: Hall) -> bool:
    """Whether a server is one of several processes."""
    return worker is not None or local_node_of(hall) is not None


async def serve_with_others(
    worker: Worker | None,
    hall: Hall,
    server: Serving,
    options: Mapping[str, Any],
    *,
    task_status: trio.TaskStatus[NodeRouter],
) -> None:
    """Be one of several processes until cancelled. The server must be paused, and goes on.

    It waits a while for the others: who comes to it before they are there could reach only its own
    gatherings. For `nursery.start`, which returns the router.

    Args:
        worker: Which one of several workers, if it's one.
        hall: Its hall.
        server: Its server.
        options: Those of `serve`.
        task_status: `nursery.start` gives it.

    Raises:
        BadSetting: It can't have a private socket.
        click.ClickException: It can't listen where other machines are to reach it.
        StoreUnavailable: The store can't be asked now by what nodes know each other.

    Cancellation: the others get no more clients, and bring none. Those that are here by way of
    them are cut off.
    """
    local = local_node_of(hall)
    number = 0 if worker is None else worker.number
    with _private_folder(worker) as folder:
        async with trio.open_nursery() as nursery:
            path = worker_node(folder, number).socket
            intake = Intake(hall, server, nursery)
            if local is not None:
                intake.on_poked = local.poke
            nursery.start_soon(intake.run, listen_privately(path))
            if local is not None:
                router = await _as_node(local, hall, server, options, number, path, nursery)
            else:
                assert worker is not None
                router = _as_worker(worker, hall, nursery)
            router.max_between = server.settings.max_connections
            server.router = router
            await router.wait_known(PATIENCE)
            server.resume()
            task_status.started(router)


@contextmanager
def _private_folder(worker: Worker | None) -> Iterator[str]:
    if worker is not None:
        yield worker.folder
        return
    with private_folder() as folder:
        yield folder


def _as_worker(worker: Worker, hall: Hall, nursery: trio.Nursery) -> NodeRouter:
    nodes = [worker_node(worker.folder, number) for number in range(worker.workers)]
    own = nodes[worker.number]
    router = NodeRouter(
        lambda: own,
        ShardDirectory(nodes, worker.number),
        nursery,
        tally=quotas_of(hall).tally,
    )
    router.know(*nodes)
    return router


async def _as_node(
    local: LocalNode,
    hall: Hall,
    server: Serving,
    options: Mapping[str, Any],
    number: int,
    path: str,
    nursery: trio.Nursery,
) -> NodeRouter:
    def own() -> Node:
        return local.node

    secret, address, tls = b"", "", peer_tls_of(options)
    if isinstance(hall.store, SecretStore):
        with store_trouble():
            secret = await hall.store.peers_secret()
    if options["peer_port"] is not None and secret:
        from squire_gatherings._cluster.peers import PeerIntake

        host, port = options["peer_host"], options["peer_port"]
        try:
            listeners = await listen(host, port + number if port else 0)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            why = f"can't listen on {host[:255]} port {port} for other nodes: {reason}"
            raise click.ClickException(why) from None
        found = listeners[0].getsockname()[1]
        address = f"[{host}]:{found}" if ":" in host else f"{host}:{found}"
        accepting = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in listeners]
        peers = PeerIntake(hall, server, nursery, secret, own, tls, on_poked=local.poke)
        nursery.start_soon(peers.run, accepting)
    local.describe(socket=path, address=address, url=options["url"])
    await local.beats.say_so()
    router = NodeRouter(
        own,
        NodeDirectory(local),
        nursery,
        secret=secret,
        tls=tls,
        tally=quotas_of(hall).tally,
    )
    local.on_given = router.poke
    nursery.start_soon(_follow, local, router)
    return router


async def _follow(local: LocalNode, router: NodeRouter) -> None:
    """Know the nodes that there are."""
    while True:
        own = local.node
        router.update(node for node in local.nodes if node.id != own.id)
        await trio.sleep(local.beats.interval)
