"""Joining: a worker brings clients to the others, and takes in those that they bring."""

import trio

from squire_gatherings._cli.workers.worker import Worker
from squire_gatherings._cluster.directory import ShardDirectory
from squire_gatherings._cluster.intake import Intake
from squire_gatherings._cluster.private import listen_privately
from squire_gatherings._cluster.router import NodeRouter, worker_node
from squire_gatherings._hall.hall import Hall
from squire_gatherings._server.serving import Serving

PATIENCE = 3.0
"""How many seconds the others may take until it serves without them."""


async def join_workers(
    worker: Worker, hall: Hall, server: Serving, nursery: trio.Nursery
) -> NodeRouter:
    """Be one of several workers. The server must be paused, and goes on.

    It waits a while for the others: who comes to it before they are there could reach only its own
    gatherings.

    Args:
        worker: Which one.
        hall: Its hall, which has its shard.
        server: Its server.
        nursery: Has its tasks.

    Raises:
        OSError: It can't listen in the folder of the workers.

    Cancellation: the server is paused still.
    """
    nodes = [worker_node(worker.folder, number) for number in range(worker.workers)]
    own = nodes[worker.number]
    listener = listen_privately(own.socket)
    most = server.settings.max_connections
    router = NodeRouter(own, ShardDirectory(nodes, worker.number), nursery, most)
    intake = Intake(hall, server, nursery)
    nursery.start_soon(intake.run, listener)
    for node in nodes:
        if node is not own:
            router.know(node)
    server.router = router
    await router.wait_known(PATIENCE)
    server.resume()
    return router
