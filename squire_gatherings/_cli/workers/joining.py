"""Joining: how `serve` is one of several processes, as its options say."""

from collections.abc import Mapping
from typing import Any

import trio

from squire_gatherings._cli.nodes import peers_of
from squire_gatherings._cli.workers.worker import Worker
from squire_gatherings._cluster.joining import join_nodes, join_workers
from squire_gatherings._cluster.node import local_node_of
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._hall.hall import Hall
from squire_gatherings._server.serving import Serving


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

    For `nursery.start`, which returns the router.

    Args:
        worker: Which one of several workers, if it's one.
        hall: Its hall.
        server: Its server.
        options: Those of `serve`.
        task_status: `nursery.start` gives it.

    Raises:
        BadSetting, StoreUnavailable: See `join_workers` and `join_nodes`.

    Cancellation: the others get no more clients, and bring none. Those that are here by way of
    them are cut off.
    """
    if local_node_of(hall) is not None:
        number = 0 if worker is None else worker.number
        path = "" if worker is None else worker_node(worker.folder, number).socket
        peers = peers_of(options, number)
        await join_nodes(hall, server, peers, path=path, task_status=task_status)
        return
    assert worker is not None
    await join_workers(
        hall, server, worker.folder, worker.number, worker.workers, task_status=task_status
    )
