"""The owner store: what a store also does that several nodes share.

A hall with such a store is one node of several. Each gathering has one owner at most, and each
append carries the owner's epoch, so what was taken away can't be written to (Kleppmann, "How to do
distributed locking", 2016: fencing tokens).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from squire_gatherings._hall.sleep_store import SleepStore
from squire_gatherings._rules.lease import Lease
from squire_gatherings._values.claims import Claim, Estate
from squire_gatherings._values.nodes import Node


@runtime_checkable
class OwnerStore(SleepStore, Protocol):
    """A store that says which node has a gathering, and takes appends from its owner alone.

    An append, and a `load`, by a node that isn't the owner raises `TakenAway`; what it writes of
    who sleeps, and of what happened, is left out. The times in `Slept` are those of the store's
    clock, and `sleeping` returns nothing: who slept comes as an `Estate`.

    Every async call is a checkpoint, and raises `StoreUnavailable` when the store can't serve it
    now. One that is cancelled may have been carried out or not; each may be repeated.
    """

    @property
    def node(self) -> Node:
        """The node that we are."""
        ...

    @property
    def lease(self) -> Lease:
        """How long what we own stays ours: another object for each node that we are."""
        ...

    def ahead(self) -> float:
        """Return how many seconds the store's clock is ahead of Trio's, as beats have told."""
        ...

    # Being a node.

    async def enroll(self, node: Node) -> None:
        """Become this node, which nobody was before. That is its first beat."""
        ...

    async def beat(self, node: Node) -> tuple[Node, ...]:
        """Say that we live, and what we are; return all nodes.

        Those that have left, or were declared dead, are among them until their estates are taken
        up: their `beat_age` is infinite.

        Raises:
            DeclaredDead: We were declared dead: begin anew, as another node.
        """
        ...

    async def resign(self) -> None:
        """Be no node any more. What we still own, any other node may inherit at once."""
        ...

    async def inherit(self, node: Node) -> bool:
        """Declare a node dead that has had no beat since it was as it is here, and go on with it.

        Whoever asks has known that for a whole lease, by its own clock. It is one transaction: a
        beat of the node comes before it, and keeps it alive, or after it, and is told. What is left
        of a gathering comes with `arrived`; one of which nothing is left has no owner then.

        Args:
            node: It, as a beat of ours was told of it.

        Returns:
            Whether it is dead, and something of it may be left to us.
        """
        ...

    # Having gatherings.

    async def claim(self, gathering: str) -> Claim:
        """Own a gathering, unless a node that isn't declared dead has it; return who does.

        Called where nothing of it lives in this process: an incarnation that sleeps, as far as the
        store knows, is left to us, whoever had it before.
        """
        ...

    async def owner_of(self, gathering: str) -> Claim | None:
        """Return who has a gathering; None if nobody, or a node that was declared dead."""
        ...

    def release_nowait(self, gathering: str) -> None:
        """Own a gathering no more, once what was appended before is durable; soon, and once.

        Nothing is left of it then: none of its incarnations sleeps. A later `claim` by us comes
        after it.
        """
        ...

    async def give(self, gatherings: Sequence[str], to: Node) -> tuple[str, ...]:
        """Give gatherings that we own, and that sleep, to another node.

        Those of which the store doesn't know that they sleep stay ours, and all where that node is
        dead or draining.

        Returns:
            Those that aren't ours any more, since this call or an earlier one.
        """
        ...

    async def arrived(self, limit: int) -> tuple[Estate, ...]:
        """Return what is ours since another node gave it to us, or died, and isn't settled.

        Args:
            limit: How many at most.
        """
        ...

    async def settle(self, gatherings: Sequence[str]) -> None:
        """Note that what was left of these gatherings was taken up: it comes no more."""
        ...
