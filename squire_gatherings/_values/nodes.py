"""Nodes: the processes that form one hall together."""

from enum import StrEnum
from typing import Literal, get_args

from attrs import field, frozen


class NodeState(StrEnum):
    """What a node is ready for."""

    UP = "up"
    DRAINING = "draining"
    """It hands over what it has, and opens nothing more."""


@frozen(kw_only=True)
class Node:
    """One process of several. A process that starts again is another node."""

    id: str
    """Made anew at each start."""
    name: str
    """What people call it."""
    machine: str = ""
    """The same for all nodes that reach each other's Unix sockets."""
    socket: str = ""
    """The path of the Unix socket on which it takes over connections of its machine's nodes."""
    address: str = ""
    """HOST:PORT at which it takes connections that other machines' nodes relay; "" for none."""
    url: str = ""
    """Where clients reach it and no other node; "" where they can't choose."""
    state: NodeState = NodeState.UP
    gatherings: int = field(default=0, eq=False)
    """How many it had at its last beat, sleeping ones among them."""
    connections: int = field(default=0, eq=False)
    """How many clients it had at its last beat."""
    beats: int = field(default=0, eq=False)
    """How many beats it has had."""
    beat_age: float = field(default=0.0, eq=False)
    """How many seconds its last beat is old, by the store's clock; infinite once it has left."""
    arrivals: int = field(default=0, eq=False)
    """How often it was given gatherings, or has inherited some."""


StateName = Literal["up", "draining", "silent"]
"""How a node is: what it says, or that others may declare it dead."""

STATES: tuple[StateName, ...] = get_args(StateName)


def state_of(node: Node, *, is_silent: bool) -> StateName:
    """Return how a node is."""
    if is_silent:
        return "silent"
    return "draining" if node.state is NodeState.DRAINING else "up"
