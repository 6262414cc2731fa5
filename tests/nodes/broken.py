"""Stores that are broken on purpose: what the lives must find."""

from collections.abc import Callable

import trio
from attrs import define

from squire_gatherings._hall.store import Outcome, Store
from squire_gatherings._rules.lease import Lease
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.claims import Claim
from squire_gatherings._values.log import Append, Restored
from squire_gatherings.testing import SharedMemory
from squire_gatherings.testing._nodes import NodeStore


@define(eq=False)
class NoFence(NodeStore):
    """Takes appends, and lets logs be loaded, whoever has the gathering."""

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        return MemoryStore.append_nowait(self, append, ended)

    async def append(self, append: Append) -> None:
        await MemoryStore.append(self, append)

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        return await MemoryStore.load(self, gathering, recent_syncs=recent_syncs)


@define(eq=False)
class ChecksOutside(NodeStore):
    """Checks whose gathering it is before the transaction, which may begin later."""

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        raise trio.WouldBlock

    async def append(self, append: Append) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check(append.gathering)
        await trio.sleep(8.0)
        MemoryStore.append_nowait(self, append, lambda _: None)


@define
class _Endless(Lease):
    def is_valid(self, now: float) -> bool:
        return True


@define(eq=False)
class EndlessLease(NodeStore):
    """Lets a node go on for ever after its last beat."""

    async def enroll(self, node: object) -> None:
        await super().enroll(node)  # type: ignore[arg-type]
        self.lease = _Endless(self.lease.duration, self.lease.margin)


@define(eq=False)
class TakesTheLiving(NodeStore):
    """Gives a gathering to whoever claims it."""

    async def claim(self, gathering: str) -> Claim:
        found = await super().claim(gathering)
        if found.owner.id == self.node.id:
            return found
        self.shared.owned[gathering].owner = ""
        return await super().claim(gathering)


@define(eq=False)
class ForgetsWhoSleeps(NodeStore):
    """Has nothing left of what a dead node had."""

    async def arrived(self, limit: int) -> tuple[()]:
        await trio.lowlevel.checkpoint()
        return ()


@define(eq=False)
class BrokenMemory(SharedMemory):
    """Memory whose stores are broken."""

    kind: type[NodeStore] = NodeStore

    def store(self) -> Store:
        shared = self._shared
        made = self.kind(
            "memory:broken", shared.logs, shared.tombstones, shared=shared, lease=shared.new_lease()
        )
        shared.stores.append(made)
        return made
