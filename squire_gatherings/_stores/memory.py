"""The store in memory: for tests, and for halls whose logs needn't outlive the process."""

from collections.abc import Callable
from itertools import islice

import trio
from attrs import define, field

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.common import has_storable_texts, page, unstorable
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord


@define(eq=False)
class _Log:
    ops: list[LoggedOp] = field(factory=list)
    heads: dict[int, bytes] = field(factory=dict)
    """The heads of the chain, by the seqs of the last ops of the appends."""
    syncs: dict[tuple[str, str], SyncRecord] = field(factory=dict)
    snapshot: Snapshot | None = None


@define(eq=False)
class MemoryStore:
    """A `Store` whose appends are as durable as the process, and never wait.

    Every async call is a checkpoint, and when cancelled it has done nothing.
    """

    name: str = "memory:"
    _logs: dict[str, _Log] = field(factory=dict)

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        if log is None:
            return Restored()
        after = log.snapshot.seq if log.snapshot else 0
        syncs = tuple(log.syncs.values())
        return Restored(
            len(log.ops),
            log.snapshot,
            tuple(log.ops[after:]),
            syncs[max(0, len(syncs) - recent_syncs) :],
            len(syncs) > recent_syncs,
            log.ops[-1].epoch if log.ops else "",
            log.ops[-1].time if log.ops else 0,
            log.heads.get(len(log.ops), b""),
        )

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append at once: always true.

        Raises `StoreConflict`, and `ValueError` for a lone surrogate, with nothing written.
        """
        if not has_storable_texts(append):
            raise unstorable(append, "surrogates not allowed", has_storable_texts)
        log = self._logs.get(append.gathering) or _Log()
        before = append.first_seq - 1
        syncs: dict[tuple[str, str], SyncRecord] = {}
        for sync in append.syncs:
            syncs[sync.scope, sync.id] = sync
        if len(log.ops) != before:
            there = tuple(log.ops[before : before + len(append.ops)])
            if append.ops and there == append.ops and syncs.items() <= log.syncs.items():
                return True
            raise StoreConflict(
                f"{append.gathering} ends at {len(log.ops)}, not before {append.first_seq}"
            )
        if len(syncs) < len(append.syncs) or not log.syncs.keys().isdisjoint(syncs):
            raise StoreConflict(f"{append.gathering} has a sync of this id already")
        log.ops.extend(append.ops)
        log.syncs.update(syncs)
        if append.ops:
            log.heads[len(log.ops)] = append.head
        if append.snapshot is not None:
            log.snapshot = append.snapshot
        self._logs[append.gathering] = log
        return True

    async def append(self, append: Append) -> None:
        """Append at once. Raises what `append_nowait` does."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            MemoryStore.append_nowait(self, append, _nobody_asks)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one if there is any."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return page(islice(log.ops, after, up_to), max_bytes) if log else ()

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return sum(len(logged.op.json) for logged in log.ops) if log else 0

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find which of these (scope, id) were applied."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return {key: log.syncs[key] for key in keys if key in log.syncs} if log else {}

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return ids of the syncs of one scope, at most `limit` of them."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return tuple(islice((one for of, one in log.syncs if of == scope), limit)) if log else ()

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Return the head of the chain after the op `seq`; empty if no append ended there."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return log.heads.get(seq, b"") if log else b""


def _nobody_asks(_: Outcome) -> None:
    """What came of an append is known at once."""
