"""One log in memory, and what is done with it as a whole.

The heads of its chain are computed only when somebody asks for what has to do with them. Before
that, `chain_some` is called until no append lacks its head. So many may lack it that a log that
nobody asks about costs nothing for long; beyond that, a few are computed now and then.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice

from attrs import define, evolve, field
from msgspec.structs import replace

from squire_gatherings._rules.chain import head_after, head_of, state_digest
from squire_gatherings._rules.links import checked
from squire_gatherings._rules.thinning import NEWEST, superfluous
from squire_gatherings._values.archive import LogCopy, LogInfo, Tombstone
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord, syncs_between

CHAINED_AT_ONCE = 500
"""How many heads are computed before others get their turn: less than a millisecond."""

MOST_UNCHAINED = 4096
"""How many appends may lack their heads; they take 200 bytes each."""

CHAINED_IN_PASSING = 16
"""How many heads an append computes when too many lack theirs: it takes as long as a message."""


@define(eq=False)
class Log:
    """A log whose first op that is left has the seq `first_seq`."""

    first_seq: int = 1
    before: bytes = b""
    """The head of the chain before its first op."""
    epoch_before: str = ""
    """The epoch of the op before that one."""
    time_before: int = 0
    """The time of the op before that one."""
    ops: list[LoggedOp] = field(factory=list)
    heads: dict[int, bytes] = field(factory=dict)
    """The heads of the chain, by the seqs of the last ops of the appends, in order."""
    unchained: deque[Append] = field(factory=deque)
    """The newest appends: those whose heads aren't among them yet."""
    names: dict[int, str] = field(factory=dict)
    """The ids that the chain has, by the same seqs, where they aren't the gathering's own."""
    syncs: dict[tuple[str, str], SyncRecord] = field(factory=dict)
    snapshots: dict[int, Snapshot] = field(factory=dict)
    """By seq, in their order."""
    _ordered: list[SyncRecord] = field(factory=list)
    """The syncs by their first seqs: those that were there when somebody asked last."""

    @property
    def seq(self) -> int:
        """The last seq."""
        return self.first_seq + len(self.ops) - 1

    @property
    def head(self) -> bytes:
        """The head of the chain after the last op, once no append lacks its own."""
        return next(reversed(self.heads.values()), self.before)

    def add(self, append: Append) -> None:
        """Add an append that fits."""
        self.ops.extend(append.ops)
        snapshot = append.snapshot
        if snapshot is not None:
            self.keep(snapshot)
            append = replace(append, snapshot=None)
        if append.ops:
            self.unchained.append(append)
            if len(self.unchained) > MOST_UNCHAINED:
                self.chain_some(CHAINED_IN_PASSING)

    def chain_some(self, most: int = CHAINED_AT_ONCE) -> bool:
        """Compute the heads of some appends that have none yet; return whether there are more."""
        for _ in range(min(most, len(self.unchained))):
            self._chain(self.unchained.popleft())
        return bool(self.unchained)

    def _chain(self, append: Append) -> None:
        head = append.head
        if head is None:
            head = head_after(self.head, append)
        seq = append.last_seq
        self.heads[seq] = head
        snapshot = self.snapshots.get(seq)
        if snapshot is not None and not snapshot.digest and head:
            self.snapshots[seq] = evolve(snapshot, digest=state_digest(head, snapshot.state))

    @property
    def last_time(self) -> int:
        """The time of the last op, also if that was left out."""
        return self.ops[-1].time if self.ops else self.time_before

    def slice(self, after: int, up_to: int) -> Iterator[LoggedOp]:
        """Give the ops after one seq and up to another; none where the first one was left out."""
        first = self.first_seq
        if after + 1 < first:
            return
        for index in range(max(0, after + 1 - first), min(len(self.ops), up_to + 1 - first)):
            yield self.ops[index]

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and perhaps not an earlier one any more."""
        self.snapshots[snapshot.seq] = snapshot
        newest = sorted(self.snapshots, reverse=True)[: NEWEST + 2]
        dropped = superfluous(
            newest,
            self.first_seq,
            lambda after, up_to: sum(
                len(one.json) for one in self.slice(max(after, self.first_seq - 1), up_to)
            ),
        )
        if dropped is not None:
            del self.snapshots[dropped]

    def snapshot_at(self, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the op `seq` or an earlier one."""
        found = [one for one in self.snapshots if one <= seq]
        return self.snapshots[max(found)] if found else None

    def seq_at(self, time: int) -> int:
        """Return the last op whose time isn't after `time`."""
        return self.first_seq - 1 + bisect_right(self.ops, time, key=lambda one: one.time)

    def end_of_append(self, seq: int) -> int:
        """Return the last op, by the op `seq`, with which an append ended; 0 if there is none."""
        return max((end for end in self.heads if end <= seq), default=0)

    def info(self, gathering: str, tombstone: Tombstone | None) -> LogInfo:
        """Return what is said of it."""
        return LogInfo(
            gathering=gathering,
            first_seq=self.first_seq,
            seq=self.seq,
            first_time=self.ops[0].time if self.ops else 0,
            last_time=self.last_time,
            size=sum(len(one.json) for one in self.ops),
            syncs=len(self.syncs),
            snapshots=tuple(sorted(self.snapshots)),
            before=self.before,
            epoch_before=self.epoch_before,
            time_before=self.time_before,
            head=self.head,
            tombstone=tombstone,
        )

    def syncs_of(self, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from, in order."""
        ordered = self._ordered
        new = len(self.syncs) - len(ordered)
        if new:
            ordered += reversed(tuple(islice(reversed(self.syncs.values()), new)))
            if new == len(ordered):
                ordered.sort(key=_first_seq)
        return syncs_between(ordered, after, up_to)

    def older_syncs(self) -> tuple[SyncRecord, ...]:
        """Return the syncs whose ops were left out."""
        return tuple(one for one in self.syncs.values() if one.first_seq < self.first_seq)

    def links(self, gathering: str, after: int = 0) -> Iterator[Append]:
        """Give its appends after the op `after`; first of all, the snapshot in place of others."""
        first = self.first_seq
        if after < first:
            after = first - 1
            if after in self.snapshots:
                name = self.names.get(min(self.heads, default=0), gathering)
                yield Append(name, first, (), (), self.snapshots[after])
        syncs = sorted(self.syncs.values(), key=lambda one: one.first_seq)
        for end in sorted(one for one in self.heads if one > after):
            yield Append(
                self.names.get(end, gathering),
                after + 1,
                tuple(self.slice(after, end)),
                tuple(one for one in syncs if after < one.first_seq <= end),
                self.snapshots.get(end),
                self.heads[end],
            )
            after = end

    def compact(self, gathering: str, up_to: int, state: bytes | None, *, forget: bool) -> int:
        """Leave out the ops up to a snapshot; return the first seq. Raises `StoreConflict`."""
        if state is not None:
            head = self.before if up_to == self.first_seq - 1 else self.heads.get(up_to, b"")
            if not head:
                raise StoreConflict(f"no append to {gathering} ended with the op {up_to}")
            self.snapshots.setdefault(up_to, Snapshot(up_to, state, state_digest(head, state)))
        snapshot = self.snapshot_at(up_to)
        if snapshot is None or snapshot.seq < self.first_seq:
            return self.first_seq
        seq = snapshot.seq
        count = seq + 1 - self.first_seq
        left_out = self.ops[count - 1]
        self.before, self.epoch_before = self.heads[seq], left_out.epoch
        self.time_before = left_out.time
        del self.ops[:count]
        self.first_seq = seq + 1
        self.heads = {end: head for end, head in self.heads.items() if end > seq}
        self.names = {end: name for end, name in self.names.items() if end > seq}
        self.snapshots = {one: kept for one, kept in self.snapshots.items() if one >= seq}
        if forget:
            self.syncs = {key: one for key, one in self.syncs.items() if one.first_seq > seq}
            self._ordered.clear()
        return self.first_seq

    @classmethod
    def of(cls, copy: LogCopy) -> "Log":
        """Make the log of a copy. Raises `StoreConflict`, and what reading the links raises."""
        first = copy.first_seq
        log = cls(first, copy.before, copy.epoch_before, copy.time_before)
        log._note_syncs(copy.older_syncs)
        for link in checked(copy.links, first, copy.before):
            log.ops.extend(link.ops)
            log._note_syncs(link.syncs)
            if link.ops:
                log.heads[log.seq] = head_of(link)
                if link.gathering != copy.gathering:
                    log.names[log.seq] = link.gathering
            if link.snapshot is not None:
                log.snapshots[link.snapshot.seq] = link.snapshot
        if first > 1 and first - 1 not in log.snapshots:
            raise StoreConflict("there is no snapshot in place of the first ops")
        if log.seq < 1:
            raise StoreConflict("a log has ops, or a snapshot in their place")
        return log

    def _note_syncs(self, syncs: tuple[SyncRecord, ...]) -> None:
        for one in syncs:
            if (one.scope, one.id) in self.syncs:
                raise StoreConflict(f"a sync is there twice: {one.id}")
            self.syncs[one.scope, one.id] = one


def _first_seq(record: SyncRecord) -> int:
    return record.first_seq
