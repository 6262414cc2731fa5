"""Serving as a node: what a program calls that is one of several which share a store."""

import socket
from collections.abc import Sequence
from functools import partial

import trio

from squire_gatherings._cluster.joining import join_nodes
from squire_gatherings._cluster.node import local_node_of
from squire_gatherings._cluster.peer_settings import PeerSettings
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._server.accepting import serve
from squire_gatherings._server.server import Server
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.tls import TlsContext

_NOWHERE_ELSE = PeerSettings()


async def serve_node(
    hall: Hall,
    *,
    host: str | None,
    port: int,
    settings: ServerSettings | None = None,
    ssl_context: TlsContext | None = None,
    listeners: Sequence[socket.socket] = (),
    peers: PeerSettings = _NOWHERE_ELSE,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a hall as `serve` does, and bring clients to the node that has their gathering.

    A hall whose store is shared by nobody has all gatherings, and is just served. One that is a
    node is served by one call at a time. Clients come in once the other nodes can know where this
    one is reached; it waits up to three seconds for them to be reached, too.

    For `nursery.start`, which returns the `Server` once clients come in.

    Args:
        hall: The hall that has the gatherings.
        host: A name or an address of this machine; None for all its addresses.
        port: 0 picks one that is free; see `Server.addresses`.
        settings: The limits of each connection.
        ssl_context: As of `serve`.
        listeners: As of `serve`.
        peers: Where nodes of other machines reach this one.
        task_status: `nursery.start` gives it.

    Raises:
        OSError: It can't listen at `host` and `port`.
        BadSetting: It can't have a private socket for nodes of its machine, or can't listen where
            `peers` says, or the hall is served as a node already.
        StoreUnavailable: The store can't tell now by what nodes know each other, or can't be told
            where this one is reached.

    Cancellation: every client is told that the server goes away, if that needs no waiting; those
    that are here by way of another node, and those of other nodes that came by way of this one,
    are cut off. The gatherings stay with this node: `Hall.drain` gives them away before.
    """
    is_node = local_node_of(hall) is not None
    async with open_hidden_nursery() as nursery:
        try:
            start = partial(
                serve,
                hall,
                host=host,
                port=port,
                settings=settings,
                ssl_context=ssl_context,
                listeners=listeners,
                is_paused=is_node,
            )
            server = await nursery.start(start)
            if is_node:
                await nursery.start(partial(join_nodes, hall, server, peers))
            task_status.started(server)
        except BaseException:
            nursery.cancel_scope.cancel()
            raise
