"""The owner store: what a store also does that several nodes share.

A hall with such a store is one node of several. Each gathering has one owner at most, and each
append carries the owner's epoch, so what was taken away can't be written to (Kleppmann, "How to do
distributed locking", 2016: fencing tokens).
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from squire_gatherings._hall.store import Store
from squire_gatherings._rules.lease import Lease
from squire_gatherings._values.nodes import Claim, Node


@runtime_checkable
class OwnerStore(Store, Protocol):
    """A store that says which node has a gathering, and takes appends from its owner alone.

    An append, and a read of `load`, by a node that isn't the owner raises `TakenAway`. Every async
    call is a checkpoint, and raises `StoreUnavailable` when the store can't serve it now. One that
    is cancelled may have been carried out or not; each may be repeated.
    """

    @property
    def node(self) -> Node:
        """The node that we are."""
        ...

    @property
    def lease(self) -> Lease:
        """How long what we own stays ours."""
        ...

    async def claim(self, gathering: str) -> Claim:
        """Own a gathering, unless a node that isn't declared dead has it; return who does."""
        ...

    async def owner_of(self, gathering: str) -> Claim | None:
        """Return who has a gathering; None if nobody, or a node that was declared dead."""
        ...

    def release_nowait(self, gathering: str) -> None:
        """Own a gathering no more, once what was appended before is durable; soon, and once."""
        ...

    async def give(self, gatherings: Sequence[str], to: Node) -> tuple[str, ...]:
        """Give gatherings that we own to another node; return those that are its own now."""
        ...

    async def beat(self, node: Node) -> tuple[Node, ...]:
        """Say that we live, and what we are; return all nodes that aren't declared dead.

        Raises:
            DeclaredDead: We were declared dead: begin anew, as another node.
        """
        ...
