"""Joining: a process brings clients to the others, and takes in those that they bring.

The others are the workers of one server, whose files are shards, or all nodes that share a store.
"""

import socket
from collections.abc import Sequence
from contextlib import ExitStack

import trio

from squire_gatherings._cluster.directory import ShardDirectory
from squire_gatherings._cluster.intake import Intake
from squire_gatherings._cluster.machine import this_machine
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._cluster.node_directory import NodeDirectory, SecretStore
from squire_gatherings._cluster.peer_settings import PeerSettings
from squire_gatherings._cluster.private import listen_privately, private_folder
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._server.listening import listen
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.nodes import Node

PATIENCE = 3.0
"""How many seconds the others may take until it serves without them."""


async def join_workers(
    hall: Hall,
    server: Serving,
    folder: str,
    number: int,
    workers: int,
    *,
    task_status: trio.TaskStatus[NodeRouter],
) -> None:
    """Be one of several workers until cancelled. The server must be paused, and goes on.

    It waits a while for the others: who comes to it before they are there could reach only its own
    gatherings. For `nursery.start`, which returns the router.

    Args:
        hall: Its hall.
        server: Its server.
        folder: The folder with the workers' private sockets.
        number: Which worker it is.
        workers: How many there are.
        task_status: `nursery.start` gives it.

    Raises:
        BadSetting: It can't have a private socket.

    Cancellation: the others get no more clients, and bring none. Those that are here by way of
    them are cut off.
    """
    nodes = [worker_node(folder, one) for one in range(workers)]
    own = nodes[number]
    with listen_privately(own.socket) as private:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Intake(hall, server, nursery).run, private)
            directory = ShardDirectory(nodes, number)
            router = NodeRouter(lambda: own, directory, nursery, tally=quotas_of(hall).tally)
            router.know(*nodes)
            await _go_on(server, router)
            task_status.started(router)


async def join_nodes(
    hall: Hall,
    server: Serving,
    settings: PeerSettings,
    *,
    path: str = "",
    task_status: trio.TaskStatus[NodeRouter],
) -> None:
    """Be one of the nodes that share the hall's store, until cancelled.

    As `join_workers`. Nobody comes in before the store has taken where this node is reached.

    Args:
        hall: Its hall, which is one of several nodes.
        server: Its server.
        settings: Where other nodes reach it.
        path: Where its private socket is to be; by default in a folder of its own.
        task_status: `nursery.start` gives it.

    Raises:
        BadSetting: It can't have a private socket, or can't listen where other machines are to
            reach it, or is joined already.
        StoreUnavailable: The store can't say now by what nodes know each other, or can't be told
            where this one is.

    Cancellation: as of `join_workers`.
    """
    local = local_node_of(hall)
    assert local is not None
    if local.node.socket:
        raise BadSetting("this hall is served as a node already")
    with ExitStack() as stack:
        path = path or f"{stack.enter_context(private_folder())}/node"
        private = stack.enter_context(listen_privately(path))
        secret = await _secret_of(hall)
        doors = await _listen(settings) if secret and settings.port is not None else []
        for door in doors:
            stack.enter_context(door)
        stack.callback(local.leave)
        local.describe(
            machine=local.node.machine or this_machine(),
            socket=path,
            address=_address(settings.host, doors),
            url=settings.url,
        )
        await local.beats.tell()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Intake(hall, server, nursery, local.poke).run, private)
            if doors:
                # It needs h2, which only those have installed who share a database.
                from squire_gatherings._cluster.peers import PeerIntake

                accepting = [
                    trio.SocketListener(trio.socket.from_stdlib_socket(door)) for door in doors
                ]
                peers = PeerIntake(
                    hall, server, nursery, secret, local.own, settings.tls, on_poked=local.poke
                )
                nursery.start_soon(peers.run, accepting)
            router = NodeRouter(
                local.own,
                NodeDirectory(local),
                nursery,
                secret=secret,
                tls=settings.tls,
                tally=quotas_of(hall).tally,
            )
            local.on_given = router.poke
            nursery.start_soon(_follow, local, router)
            await _go_on(server, router)
            task_status.started(router)


async def _go_on(server: Serving, router: NodeRouter) -> None:
    """Have a paused server bring clients to the others."""
    router.max_between = server.settings.max_connections
    server.router = router
    await router.wait_known(PATIENCE)
    server.resume()


async def _secret_of(hall: Hall) -> bytes:
    if not isinstance(hall.store, SecretStore):
        return b""
    with store_trouble():
        return await hall.store.peers_secret()


async def _listen(settings: PeerSettings) -> list[socket.socket]:
    host, port = settings.host, settings.port
    assert port is not None
    try:
        return await listen(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        why = f"can't listen on {host[:255]} port {port} for other nodes: {reason}"
        raise BadSetting(why) from None


def _address(host: str, doors: Sequence[socket.socket]) -> str:
    """Return what other nodes are told; "" where they can't come."""
    if not doors:
        return ""
    port = doors[0].getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _follow(local: LocalNode, router: NodeRouter) -> None:
    """Know the nodes that there are."""
    while True:
        own: Node = local.node
        router.update(node for node in local.nodes if node.id != own.id)
        await trio.sleep(local.beats.interval)
