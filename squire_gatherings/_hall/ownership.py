"""Ownership: which gatherings this hall may have, where several nodes form one (`OwnerStore`).

A hall whose store is shared by nobody has none of this.
"""

import math
from collections.abc import Callable, Collection
from typing import Protocol

import trio
from attrs import define, field

from squire_gatherings._hall.lifecycle import Lifecycle
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._rules.lease import Lease
from squire_gatherings._rules.silence import Silences
from squire_gatherings._values.claims import Claim, Estate
from squire_gatherings._values.errors import OwnedElsewhere, StoreUnavailable
from squire_gatherings._values.nodes import Node

AT_ONCE = 1000
"""So much of what other nodes have left is taken up at once."""


class Peers(Protocol):
    """What a hall is among the nodes that share its store."""

    @property
    def node(self) -> Node:
        """What the others are told of us."""
        ...

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that aren't declared dead, as of the last beat; we are one of them."""
        ...

    async def move(self, gatherings: Collection[str], to: Node) -> int:
        """Give gatherings to another node; return how many it has now."""
        ...

    async def drain(self) -> int:
        """Give all to other nodes, and open nothing more; return how many are left."""
        ...


@define(eq=False)
class Ownership:
    """What one hall owns of what several nodes share."""

    store: OwnerStore
    lifecycle: Lifecycle | None
    silences: Silences = field(factory=Silences)
    """How long other nodes have said nothing."""
    is_in_doubt: bool = False
    """Whether something may be ours of which we weren't told, as a claim has failed."""
    place: Callable[[str], Node | None] | None = None
    """Says which other node is to open a gathering that none has, where this one opens none."""
    _ended: dict[str, int] = field(factory=dict)
    """Gatherings that are to be released once an event of this number is in the store."""
    _regained: trio.Event = field(factory=trio.Event)
    _taken: dict[str, None] = field(factory=dict)
    """Gatherings that were taken up here, of which the store doesn't know it."""

    @property
    def lease(self) -> Lease:
        """The lease of the node that we are now."""
        return self.store.lease

    @property
    def is_certain(self) -> bool:
        """Whether it is certain that what we have is still ours."""
        return self.lease.is_valid(trio.current_time())

    def check(self) -> None:
        """Raise `StoreUnavailable` while that isn't certain: nothing may be shown then."""
        if not self.is_certain:
            raise StoreUnavailable("this node can't reach what all nodes share")

    def is_silent(self, node: Node) -> bool:
        """Whether a node has been silent for so long that its lease is over."""
        if node.beat_age == math.inf:
            return True
        now = trio.current_time()
        return self.silences.seconds(node.id, node.beats, now) >= self.lease.duration

    async def wait_certain(self) -> None:
        """Return when it is certain; a checkpoint only where it isn't. Cancellation: nothing."""
        while not self.is_certain:
            await self._regained.wait()

    def regained(self) -> None:
        """It is certain again."""
        self._regained.set()
        self._regained = trio.Event()

    async def claim(self, gathering: str) -> Estate | None:
        """Own a gathering; return what another node has left of it, if anything.

        Raises:
            OwnedElsewhere: Another node has it.
            StoreUnavailable: Nobody can tell now.

        Cancellation: it may be ours.
        """
        self.check()
        await self._released(gathering)
        await self._check_place(gathering)
        with store_trouble():
            claim = await self.store.claim(gathering)
            if self.is_silent(claim.owner) and await self.store.inherit(claim.owner):
                claim = await self.store.claim(gathering)
        self.check()
        self._check_owner(claim)
        return claim.estate

    async def _check_place(self, gathering: str) -> None:
        """Raise `OwnedElsewhere` if another node is to open a gathering that none has."""
        if self.place is None:
            return
        with store_trouble():
            claim = await self.store.owner_of(gathering)
        node = self.place(gathering)
        if claim is None and node is not None:
            raise OwnedElsewhere(f"node {node.name} is to open the gathering", node)

    async def _released(self, gathering: str) -> None:
        """Return once we don't own a gathering any more that has just ended."""
        lifecycle = self.lifecycle
        while lifecycle is not None and gathering in self._ended:
            await lifecycle.wait_durable(self._ended[gathering])
            self._release_ended()

    async def check_elsewhere(self, gathering: str) -> None:
        """Raise `OwnedElsewhere` if another node has a gathering.

        Raises:
            StoreUnavailable: Nobody can tell now.

        Cancellation: nothing happened.
        """
        self.check()
        with store_trouble():
            claim = await self.store.owner_of(gathering)
        self.check()
        if claim is not None:
            self._check_owner(claim)

    def _check_owner(self, claim: Claim) -> None:
        if claim.owner.id != self.store.node.id:
            raise OwnedElsewhere(f"node {claim.owner.name} has the gathering", claim.owner)

    # What other nodes have left.

    def took(self, gathering: str) -> None:
        """Note that what was left of a gathering was taken up."""
        self._taken[gathering] = None

    def has_taken(self, gathering: str) -> bool:
        """Whether it was, and the store may still say that it wasn't."""
        return gathering in self._taken

    async def settle(self) -> None:
        """Have the store know what was taken up. One task calls this, and `arrived`.

        Raises:
            StoreUnavailable: It can't now.

        Cancellation: it may know some.
        """
        taken = tuple(self._taken)
        if not taken:
            await trio.lowlevel.checkpoint()
            return
        if self.lifecycle is not None:
            # The ends that were to be told, too.
            await self.lifecycle.settle()
        with store_trouble():
            await self.store.settle(taken)
        for one in taken:
            del self._taken[one]

    async def arrived(self) -> tuple[Estate, ...]:
        """Return some of what was left to us and isn't taken up.

        Raises:
            StoreUnavailable: The store can't tell now.

        Cancellation: nothing happened.
        """
        with store_trouble():
            return await self.store.arrived(AT_ONCE)

    # What has ended.

    def release(self, gathering: str) -> None:
        """Own one no more that has ended, as soon as the store knows of its end."""
        lifecycle = self.lifecycle
        if lifecycle is None or lifecycle.durable >= lifecycle.last:
            self.store.release_nowait(gathering)
        else:
            self._ended[gathering] = lifecycle.last

    async def run(self) -> None:
        """Release what has ended, until cancelled."""
        lifecycle = self.lifecycle
        if lifecycle is None:
            await trio.sleep_forever()
            return
        while True:
            await lifecycle.written.wait()
            self._release_ended()

    def _release_ended(self) -> None:
        """Release those of whose end the store knows, in the order of their ends."""
        assert self.lifecycle is not None
        while self._ended:
            gathering, number = next(iter(self._ended.items()))
            if number > self.lifecycle.durable:
                return
            del self._ended[gathering]
            self.store.release_nowait(gathering)
