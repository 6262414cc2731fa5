"""The calls about the nodes that form a hall together: which there are, and to drain this one."""

import math

import trio

from squire_gatherings._admin.api import shapes
from squire_gatherings._admin.api.times import Times
from squire_gatherings._admin.operations import Call, Operation
from squire_gatherings._admin.problems import Refusal
from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._values.nodes import Node, state_of


async def list_nodes(call: Call) -> shapes.Nodes:
    """Return all nodes, as of this one's last beat."""
    await trio.lowlevel.checkpoint()
    return nodes_shape(local_node_of(call.hall), Times.of(call.observer).wall)


def nodes_shape(local: LocalNode | None, now: float) -> shapes.Nodes:
    """Return all nodes as they are told; none where a hall is all by itself."""
    if local is None:
        return shapes.Nodes(now=now, this=None, lease_left=None, nodes=[])
    lease = local.ownership.lease
    left = lease.until - trio.current_time()
    nodes = sorted(local.nodes, key=lambda node: (node.name, node.id))
    return shapes.Nodes(
        now=now,
        this=local.node.id,
        lease_left=None if math.isinf(left) else round(left, 3),
        nodes=[_shape(node, is_silent=local.ownership.is_silent(node)) for node in nodes],
    )


def _shape(node: Node, *, is_silent: bool) -> shapes.NodeShown:
    age = node.beat_age
    return shapes.NodeShown(
        id=node.id,
        name=node.name,
        machine=node.machine,
        address=node.address,
        url=node.url,
        state=state_of(node, is_silent=is_silent),
        gatherings=node.gatherings,
        connections=node.connections,
        beat_age=None if math.isinf(age) else round(age, 3),
    )


async def drain(call: Call) -> shapes.Drained:
    """Give all gatherings to the other nodes, and open nothing more."""
    local = local_node_of(call.hall)
    if local is None:
        await trio.lowlevel.checkpoint()
        raise Refusal(409, "no_node", "this server shares its store with no other")
    before = local.moved
    left = await call.hall.drain()
    return shapes.Drained(moved=local.moved - before, left=left)


OPERATIONS = (
    Operation(
        method="GET",
        path="/api/v1/nodes",
        name="list_nodes",
        does="Tell which nodes form the hall, as of the last beat of this one.",
        run=list_nodes,
        answer=shapes.Nodes,
    ),
    Operation(
        method="POST",
        path="/api/v1/drain",
        name="drain",
        does="Give all gatherings of this node to the others, and open nothing more here.",
        run=drain,
        answer=shapes.Drained,
        problems=(409,),
    ),
)
