"""The directory of nodes that share a store: the store says who has a gathering."""

import math
from typing import Protocol, runtime_checkable

import trio
from attrs import define, field

from squire_gatherings._cluster.node import LocalNode
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._values.nodes import Node

REMEMBERED = 1.0
"""For so many seconds the answer of the store counts for others who ask, too."""

MOST_REMEMBERED = 10_000

LEARNING_PAUSE = 0.2
"""How many seconds lie between two beats for the sake of clients, at least."""


@runtime_checkable
class SecretStore(Protocol):
    """A store that has a secret which the nodes that share it know, and nobody else."""

    async def peers_secret(self) -> bytes:
        """Return it: 32 random bytes, or more.

        Raises:
            StoreUnavailable: Not now.

        Cancellation: nothing is changed.
        """
        ...


@define(eq=False)
class NodeDirectory:
    """Asks the store who has a gathering, unless it lives here.

    What nobody has is opened by the node that is asked, as long as that has no more than its share.
    So where something in front of the nodes sends all who ask for a gathering to the same one,
    nobody is brought elsewhere; where nothing shares them out, the nodes do.
    """

    local: LocalNode
    _remembered: dict[str, tuple[str, float]] = field(factory=dict)
    """By gathering: the id of the node that has it, and until when that counts."""
    _learned_at: float = -math.inf

    async def find(self, gathering: str, *, passed: int) -> Node | None:
        """See `Directory`. A checkpoint unless the gathering lives here."""
        local = self.local
        if gathering in local.registry.living:
            return None
        owner = None if passed else self._recall(gathering)
        if owner is None:
            with store_trouble():
                claim = await local.beats.store.owner_of(gathering)
            if claim is None:
                return local.place_new(gathering, is_asked_first=not passed)
            owner = claim.owner.id
            self._remember(gathering, owner)
        if owner == local.node.id:
            return None
        node = self._reachable(owner)
        if node is None:
            # It may have come since our last beat: with another one we learn of it.
            await self._learn()
            node = self._reachable(owner)
        return node or Node(id=owner, name="")

    def _reachable(self, owner: str) -> Node | None:
        for node in self.local.nodes:
            if node.id == owner and (node.socket or node.address or node.url):
                return node
        return None

    async def _learn(self) -> None:
        now = trio.current_time()
        if now >= self._learned_at + LEARNING_PAUSE:
            self._learned_at = now
            await self.local.beats.say_so()

    def _recall(self, gathering: str) -> str | None:
        owner, until = self._remembered.get(gathering, ("", 0.0))
        return owner if trio.current_time() < until else None

    def _remember(self, gathering: str, owner: str) -> None:
        remembered = self._remembered
        remembered.pop(gathering, None)
        remembered[gathering] = owner, trio.current_time() + REMEMBERED
        if len(remembered) > MOST_REMEMBERED:
            del remembered[next(iter(remembered))]
