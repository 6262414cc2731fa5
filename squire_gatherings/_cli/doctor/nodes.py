"""Checks of the nodes that a server forms a hall with: whether all live, and reach each other."""

from collections.abc import Iterator

from squire_gatherings._admin.api.shapes import Nodes, NodeShown
from squire_gatherings._cli.doctor.findings import Finding, fail, ok, warn
from squire_gatherings._cli.operators.asking import AdminPort, CannotAsk
from squire_gatherings._cli.operators.wording import count
from squire_gatherings._cli.printing import printable

CHECK = "nodes"


async def check_nodes(port: AdminPort) -> list[Finding]:
    """Check the nodes that a server knows, if it shares its store. Nothing of an older server."""
    try:
        said: Nodes = (await port.get("/api/v1/nodes", Nodes)).value
    except CannotAsk:
        return []
    return list(judge_nodes(said))


def judge_nodes(said: Nodes) -> Iterator[Finding]:
    """Yield what is to be said of nodes."""
    if said.this is None:
        return
    if said.lease_left is None or said.lease_left <= 0:
        says = "it can't tell whether it is still one of the nodes, and serves nobody"
        yield fail(CHECK, says, "is the database there, and reached from it?")
    for node in said.nodes:
        yield from _judge(node, said.nodes)
    names = [node.name for node in said.nodes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        says = f"several nodes are called {printable(name)}"
        yield warn(CHECK, says, "give each its --node-name")
    if len(said.nodes) == 1:
        says = "it is the only node: nobody takes over what it has"
        yield warn(CHECK, says, "start another one, if that is meant")
    elif all(node.state == "up" for node in said.nodes):
        yield ok(CHECK, f"{count(len(said.nodes), 'node', 'nodes')}, all up")


def _judge(node: NodeShown, nodes: list[NodeShown]) -> Iterator[Finding]:
    name = printable(node.name)
    if node.state == "silent":
        says = f"node {name} gives no sign of life"
        yield warn(CHECK, says, "another one takes over what it has: why has it ended?")
    elif node.state == "draining":
        yield warn(CHECK, f"node {name} drains", "stop it, or start it again")
    if not node.address and any(one.machine != node.machine for one in nodes):
        says = f"node {name} isn't reached by those of other machines"
        yield warn(CHECK, says, "give it --peer-host and --peer-port")
