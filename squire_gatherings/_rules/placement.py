"""Placement: which node is to have a gathering that none has, by rendezvous hashing.

Each node is weighted by its load, so a node that has little is chosen more often. Whoever knows the
same nodes with the same loads chooses the same (Thaler and Ravishankar, 1998, "Using name-based
mappings to increase hit rates"; weights as by Schindelhauer and Schomaker, 2005).
"""

import math
from collections.abc import Iterable
from hashlib import blake2b

from squire_gatherings._values.nodes import Node, NodeState

LIGHTEST = 4.0
"""A node is chosen at most so many times as often as the average, however little it has."""

HEAVIEST = 0.25
"""And at least so often, however much it has."""

TOLERATED = 1.1
"""A node that has so many times its share gives some to others."""

FEW = 16
"""A difference of so many is none."""


def place(gathering: str, nodes: Iterable[Node]) -> Node | None:
    """Return the node that is to have a gathering; None if there is none that takes any."""
    ready = [one for one in nodes if one.state is NodeState.UP and one.beat_age < math.inf]
    if not ready:
        return None
    mean = sum(map(load, ready)) / len(ready)
    return max(ready, key=lambda one: (_score(gathering, one, mean), one.id))


def load(node: Node) -> int:
    """Return how much a node has."""
    return node.gatherings + node.connections


def to_give(node: Node, nodes: Iterable[Node]) -> Node | None:
    """Return the node to which one that has more than its share is to give some; None for none."""
    ready = [one for one in nodes if one.state is NodeState.UP and one.beat_age < math.inf]
    others = [one for one in ready if one.id != node.id]
    if not others:
        return None
    mean = (sum(map(load, others)) + load(node)) / (len(others) + 1)
    least = min(others, key=lambda one: (load(one), one.id))
    has_too_much = load(node) > mean * TOLERATED and load(node) - load(least) > FEW
    return least if has_too_much else None


def _score(gathering: str, node: Node, mean: float) -> float:
    weight = min(LIGHTEST, max(HEAVIEST, (mean + 1) / (load(node) + 1)))
    digest = blake2b(f"{node.id}\n{gathering}".encode(), digest_size=8).digest()
    # Between 0 and 1, and neither.
    return -weight / math.log((int.from_bytes(digest) + 0.5) / 2**64)
