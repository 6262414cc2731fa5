"""The failing store: a store in front of another, that fails, waits and hangs on command."""

from collections.abc import Sequence
from typing import Any, cast

import trio
from attrs import define

from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.events import EventsLeft, LifecycleEvent
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord
from squire_gatherings._values.nodes import Node
from squire_gatherings.testing._failing import FailingCalls


@define(eq=False, slots=False)
class FailingStore(FailingCalls):
    """A `Store` in front of another, that fails on command. Until then it is as good as that one.

    What the other store can do, it can, too: whole logs, lifecycle events, remembering who sleeps.

    ```python
    store = FailingStore()
    store.trouble("append", "busy")  # from now on
    store.trouble("load", "hangs", after=2, calls=1)  # the third one
    store.heal()
    ```
    """

    # Reads.

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what an incarnation starts from; see `Store.load`."""
        await self._settle(gathering)
        return await self._do(
            "load", gathering, lambda: self.inner.load(gathering, recent_syncs=recent_syncs)
        )

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read ops; see `Store.read`."""
        return await self._do(
            "read",
            gathering,
            lambda: self.inner.read(gathering, after=after, up_to=up_to, max_bytes=max_bytes),
        )

    async def size(self, gathering: str) -> int:
        """Return how many bytes a log's ops have."""
        return await self._do("size", gathering, lambda: self.inner.size(gathering))

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find syncs; see `Store.find_syncs`."""
        return await self._do(
            "find_syncs", gathering, lambda: self.inner.find_syncs(gathering, keys)
        )

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Find a scope's syncs; see `Store.sync_ids`."""
        return await self._do(
            "sync_ids", gathering, lambda: self.inner.sync_ids(gathering, scope, limit=limit)
        )

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Find a head of the chain; see `Store.find_head`."""
        return await self._do(
            "find_head", gathering, lambda: self.inner.find_head(gathering, seq=seq)
        )

    # Logs as they were, and whole logs: as `Archive` says.

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return an older snapshot."""
        return await self._do(
            "snapshot_at", gathering, lambda: self._more.snapshot_at(gathering, seq=seq)
        )

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op at an instant."""
        return await self._do("seq_at", gathering, lambda: self._more.seq_at(gathering, time=time))

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of logs."""
        return await self._do(
            "list_logs", "", lambda: self._more.list_logs(after=after, limit=limit)
        )

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one log."""
        return await self._do("describe", gathering, lambda: self._more.describe(gathering))

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Read appends."""
        return await self._do(
            "read_links",
            gathering,
            lambda: self._more.read_links(gathering, after=after, up_to=up_to, max_bytes=max_bytes),
        )

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        return await self._do("older_syncs", gathering, lambda: self._more.older_syncs(gathering))

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from."""
        return await self._do(
            "syncs_of", gathering, lambda: self._more.syncs_of(gathering, after=after, up_to=up_to)
        )

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return where an append ended."""
        return await self._do(
            "end_of_append", gathering, lambda: self._more.end_of_append(gathering, seq=seq)
        )

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        """Return whether there is such a log."""
        return await self._do(
            "has_log",
            gathering,
            lambda: self._more.has_log(gathering, first_seq=first_seq, seq=seq, head=head),
        )

    async def changes(self) -> int:
        """Return how often whole logs were changed."""
        return await self._do("changes", "", lambda: self._more.changes())

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log."""
        return await self._change(
            "delete", gathering, lambda: self._more.delete(gathering, time=time)
        )

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        """Cut a log short."""
        return await self._change(
            "compact",
            gathering,
            lambda: self._more.compact(
                gathering, up_to=up_to, state=state, forget_syncs=forget_syncs
            ),
        )

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a log."""
        return await self._change("adopt", copy.gathering, lambda: self._more.adopt(copy))

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Copy a log."""
        return await self._change("fork", new, lambda: self._more.fork(gathering, new, seq=seq))

    async def erase(self) -> None:
        """Leave nothing of what was deleted."""
        await self._do("erase", "", lambda: self._more.erase())

    # Who sleeps: as the hall gives it. A process that was killed writes nothing, and isn't told.

    async def sleeping(self) -> tuple[Any, ...]:
        """Return what slept when earlier halls ended."""
        return await self._do("sleeping", "", lambda: self._more.sleeping())

    async def write_sleep(self, *, asleep: Sequence[Any], awake: Sequence[str]) -> None:
        """Remember who sleeps, and forget others."""
        if self.is_dead:
            await trio.lowlevel.checkpoint()
            return
        await self._do(
            "write_sleep", "", lambda: self._more.write_sleep(asleep=asleep, awake=awake)
        )

    # As one of several nodes: as `OwnerStore` says.

    @property
    def node(self) -> Any:
        """The node that it is."""
        return self._more.node

    @property
    def lease(self) -> Any:
        """How long what it owns stays its own."""
        return self._more.lease

    def ahead(self) -> float:
        """Return how many seconds the shared clock is ahead."""
        return cast(float, self._more.ahead())

    async def enroll(self, node: Node) -> None:
        """Become a node."""
        await self._do("enroll", "", lambda: self._more.enroll(node))

    async def beat(self, node: Node) -> tuple[Node, ...]:
        """Say that it lives. A beat that is slow is sent late."""
        return await self._do("beat", "", lambda: self._more.beat(node))

    async def resign(self) -> None:
        """Be no node any more."""
        await self._do_or_die("resign", lambda: self._more.resign())

    async def inherit(self, node: Node) -> bool:
        """Own what a dead node had."""
        return await self._do("inherit", "", lambda: self._more.inherit(node))

    async def claim(self, gathering: str) -> Any:
        """Own a gathering."""
        return await self._do("claim", gathering, lambda: self._more.claim(gathering))

    async def owner_of(self, gathering: str) -> Any:
        """Return who has a gathering."""
        return await self._do("owner_of", gathering, lambda: self._more.owner_of(gathering))

    async def peers_secret(self) -> bytes:
        """Return by what the nodes know each other, whatever else fails."""
        secret: bytes = await self._more.peers_secret()
        return secret

    def release_nowait(self, gathering: str) -> None:
        """Own a gathering no more, unless its process was killed."""
        if not self.is_dead:
            self._more.release_nowait(gathering)

    async def give(self, gatherings: Sequence[str], to: Node) -> tuple[str, ...]:
        """Give gatherings to another node."""
        return await self._do("give", "", lambda: self._more.give(gatherings, to))

    async def arrived(self, limit: int) -> tuple[Any, ...]:
        """Return what other nodes have left."""
        return await self._do("arrived", "", lambda: self._more.arrived(limit))

    async def settle(self, gatherings: Sequence[str]) -> None:
        """Note what was taken up."""
        await self._do("settle", "", lambda: self._more.settle(gatherings))

    # Lifecycle events: as `EventStore` says.

    async def begin_events(self) -> EventsLeft:
        """Take the outbox."""
        return await self._do("begin_events", "", lambda: self._more.begin_events())

    def end_events(self) -> None:
        """Give the outbox back."""
        self._more.end_events()

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Make events durable."""
        await self._do_or_die("write_events", lambda: self._more.write_events(events))

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Read events that weren't delivered."""
        return await self._do_or_die(
            "read_events",
            lambda: self._more.read_events(after=after, up_to=up_to, limit=limit),
        )

    async def forget_events(self, *, up_to: int) -> None:
        """Forget events that were delivered."""
        await self._do_or_die("forget_events", lambda: self._more.forget_events(up_to=up_to))
