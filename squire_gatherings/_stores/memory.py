"""The store in memory: for tests, and for halls whose logs needn't outlive the process."""

from collections.abc import Callable
from itertools import islice

import trio
from attrs import define, field

from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import begins_with, follows, head_of
from squire_gatherings._rules.links import check_fork, cut
from squire_gatherings._stores.common import has_storable_texts, links_page, page, unstorable
from squire_gatherings._stores.memory_log import Log
from squire_gatherings._stores.memory_sleep import MemorySleep
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.errors import LogDeleted, StoreConflict
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord


@define(eq=False)
class MemoryStore(MemorySleep):
    """A `Store` whose appends are as durable as the process, and never wait.

    Every async call is a checkpoint, and when cancelled it has done nothing.
    """

    name: str = "memory:"
    _logs: dict[str, Log] = field(factory=dict)
    _tombstones: dict[str, Tombstone] = field(factory=dict)
    _changes: int = 0

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from."""
        log = await self._chained(gathering)
        if log is None:
            tombstone = self._tombstones.get(gathering)
            return Restored(head=tombstone.head) if tombstone else Restored()
        snapshot = log.snapshot_at(log.seq)
        after = snapshot.seq if snapshot else 0
        syncs = tuple(log.syncs.values())
        return Restored(
            log.seq,
            snapshot,
            tuple(log.slice(after, log.seq)),
            syncs[max(0, len(syncs) - recent_syncs) :],
            len(syncs) > recent_syncs,
            log.ops[-1].epoch if log.ops else log.epoch_before,
            log.last_time,
            log.head,
            log.first_seq,
            log.epoch_before,
        )

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append at once: always true.

        Raises `StoreConflict`, and `ValueError` for a lone surrogate, with nothing written.
        """
        if not has_storable_texts(append):
            raise unstorable(append, "surrogates not allowed", has_storable_texts)
        log = self._logs.get(append.gathering) or self._new_log(append)
        before, seq = append.first_seq - 1, log.seq
        syncs: dict[tuple[str, str], SyncRecord] = {}
        for sync in append.syncs:
            syncs[sync.scope, sync.id] = sync
        if self._tombstones and append.gathering in self._tombstones and seq == before:
            # Seqs can't tell: those of the log that was deleted may be the same.
            log.chain_some()
            if not follows(log.head, append):
                raise LogDeleted(f"{append.gathering} was deleted")
            # So it is known when this is looked at again.
            head_of(append)
        elif seq != before:
            there = tuple(log.slice(before, before + len(append.ops)))
            if append.ops and there == append.ops and syncs.items() <= log.syncs.items():
                return True
            conflict = LogDeleted if append.gathering in self._tombstones else StoreConflict
            raise conflict(f"{append.gathering} ends at {seq}, not before {append.first_seq}")
        if len(syncs) < len(append.syncs) or not log.syncs.keys().isdisjoint(syncs):
            raise StoreConflict(f"{append.gathering} has a sync of this id already")
        log.add(append)
        log.syncs.update(syncs)
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
        return page(log.slice(after, up_to), max_bytes) if log else ()

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return sum(len(logged.json) for logged in log.ops) if log else 0

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
        """Return the head of the chain after the op `seq`; empty if no append ended there.

        None if the log begins after it.
        """
        log = await self._chained(gathering)
        if log is None:
            return b""
        if seq < log.first_seq:
            return log.before if seq == log.first_seq - 1 else None
        return log.heads.get(seq, b"")

    # Logs as they were.

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return None if log is None else log.snapshot_at(seq)

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`: milliseconds since 1970 (UTC)."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return 0 if log is None else log.seq_at(time)

    # Whole logs.

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        """Tell of at most `limit` gatherings and tombstones whose ids come after `after`."""
        await trio.lowlevel.checkpoint()
        ids = sorted(one for one in {*self._logs, *self._tombstones} if one > after)
        found = [await self.describe(one) for one in ids[:limit]]
        return tuple(one for one in found if one is not None)

    async def describe(self, gathering: str) -> LogInfo | None:
        """Tell of one gathering; None if there is no log, and no tombstone."""
        log, tombstone = await self._chained(gathering), self._tombstones.get(gathering)
        if log is not None:
            return log.info(gathering, tombstone)
        return None if tombstone is None else LogInfo(gathering=gathering, tombstone=tombstone)

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        """Read appends as they were committed, at least one if there is any."""
        log = await self._chained(gathering)
        return links_page(log.links(gathering, after), up_to, max_bytes) if log else ()

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return log.older_syncs() if log else ()

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from, in order."""
        await trio.lowlevel.checkpoint()
        log = self._logs.get(gathering)
        return log.syncs_of(after, up_to) if log else ()

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        log = await self._chained(gathering)
        return log.end_of_append(seq) if log else 0

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        """Return whether a log begins with `first_seq`, and has that head after the op `seq`."""
        log = await self._chained(gathering)
        if log is None:
            tombstone = self._tombstones.get(gathering)
            end = b"" if tombstone is None else tombstone.head
            return first_seq in (None, 1) and seq == 0 and begins_with(end, head)
        before = log.before if seq == log.first_seq - 1 else log.heads.get(seq, b"")
        return first_seq in (None, log.first_seq) and begins_with(before, head)

    async def changes(self) -> int:
        """Return how often whole logs were changed."""
        await trio.lowlevel.checkpoint()
        return self._changes

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log, and leave a tombstone; None if there is no such log."""
        log = await self._chained(gathering)
        if log is None:
            return None
        del self._logs[gathering]
        self._changes += 1
        tombstone = self._tombstones[gathering] = Tombstone(gathering, log.seq, log.head, time)
        return tombstone

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        """Leave out the ops up to a snapshot; return the first seq. Raises `StoreConflict`."""
        log = _found(await self._chained(gathering), gathering)
        self._changes += 1
        return log.compact(gathering, up_to, state, forget=forget_syncs)

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a whole log; return its last seq. Raises `StoreConflict`."""
        await trio.lowlevel.checkpoint()
        if copy.gathering in self._logs:
            raise StoreConflict(f"there is a gathering {copy.gathering} already")
        log = self._logs[copy.gathering] = Log.of(copy)
        self._changes += 1
        return log.seq

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Make a new gathering of a log up to the op `seq`. Raises `BadBase`, `StoreConflict`."""
        log = _found(await self._chained(gathering), gathering)
        check_fork(gathering, log.first_seq, log.seq, seq)
        copy = LogCopy(
            gathering=new,
            first_seq=log.first_seq,
            before=log.before,
            epoch_before=log.epoch_before,
            time_before=log.time_before,
            older_syncs=log.older_syncs(),
            links=cut(log.links(gathering), seq, new, log.before),
        )
        return await self.adopt(copy)

    async def erase(self) -> None:
        """Nothing is left of what was deleted."""
        await trio.lowlevel.checkpoint()

    def _new_log(self, append: Append) -> Log:
        tombstone = self._tombstones.get(append.gathering)
        return Log(before=b"" if tombstone is None else tombstone.head)

    async def _chained(self, gathering: str) -> Log | None:
        """Find a log, all of whose heads are computed.

        A checkpoint before that, and none after it.
        """
        while True:
            await trio.lowlevel.checkpoint()
            log = self._logs.get(gathering)
            if log is None or not log.chain_some():
                return log


def _found(log: Log | None, gathering: str) -> Log:
    if log is None:
        raise StoreConflict(f"there is no gathering {gathering}")
    return log


def _nobody_asks(_: Outcome) -> None:
    """What came of an append is known at once."""
