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

LEARNT_WITHIN = 1.0
"""For so many seconds at most a client waits until it is known where an owner is reached."""


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
    _learnt_at: float = -math.inf
    """When the last beat for the sake of a client was begun."""
    _begun: int = 0
    """How many were."""
    _learning: trio.Lock = field(factory=trio.Lock)

    async def find(self, gathering: str, *, passed: int) -> Node | None:
        """See `Directory`. A checkpoint unless the gathering lives here.

        An owner may have begun since our last beat, and be unknown, or be about to tell where it is
        reached: then it is asked for anew, for a second at most.
        """
        local, asked_at = self.local, trio.current_time()
        until, memory = asked_at + LEARNT_WITHIN, math.inf if passed else asked_at - REMEMBERED
        while gathering not in local.registry.living:
            owner = self._recall(gathering, memory) or await self._ask(gathering)
            if owner is None:
                return local.place_new(gathering, is_asked_first=not passed)
            if owner == local.node.id:
                return None
            node = self._reachable(owner)
            if node is not None:
                return node
            if trio.current_time() >= until:
                return Node(id=owner, name="")
            await self._learn()
            memory = self._learnt_at
        return None

    async def _ask(self, gathering: str) -> str | None:
        """Return the id of the node that has a gathering, as the store says."""
        with store_trouble():
            claim = await self.local.beats.store.owner_of(gathering)
        if claim is None:
            return None
        self._remember(gathering, claim.owner.id)
        return claim.owner.id

    def _reachable(self, owner: str) -> Node | None:
        for node in self.local.nodes:
            if node.id == owner and (node.socket or node.address or node.url):
                return node
        return None

    async def _learn(self) -> None:
        """Return once a beat has been tried that began after this call."""
        begun = self._begun
        async with self._learning:
            if self._begun == begun:
                await trio.sleep_until(self._learnt_at + LEARNING_PAUSE)
                self._begun += 1
                self._learnt_at = trio.current_time()
                await self.local.beats.say_so()

    def _recall(self, gathering: str, since: float) -> str | None:
        """Return what the store has said since then, if it was asked."""
        owner, said_at = self._remembered.get(gathering, ("", -math.inf))
        return owner if said_at > since else None

    def _remember(self, gathering: str, owner: str) -> None:
        remembered = self._remembered
        remembered.pop(gathering, None)
        remembered[gathering] = owner, trio.current_time()
        if len(remembered) > MOST_REMEMBERED:
            del remembered[next(iter(remembered))]
