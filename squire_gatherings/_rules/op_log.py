"""The op log of one gathering: seqs without a hole, syncs applied once, a tail in memory.

Ops are *added* when the behaviour has judged them, and *committed* when the store has
them; between the two they have a seq, but nobody outside may see them.
"""

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from attrs import define, field

from squire_gatherings._rules.chain import head_of, state_digest
from squire_gatherings._rules.sync_ids import SyncIds, SyncKey
from squire_gatherings._values.errors import BadBase, SyncIdReused
from squire_gatherings._values.log import (
    Append,
    LoggedOp,
    Restored,
    Snapshot,
    SyncRecord,
    encoded_size,
    syncs_between,
)
from squire_gatherings._values.messages import Sync, SyncRun
from squire_gatherings._values.op import Op

TRIMMED_PART = 16
"""When the tail has grown too long, one part in so many is left to the store."""

OP_OVERHEAD = 130
"""How many bytes an op takes besides its own: objects, and places in lists (measured: 129)."""

SYNC_OVERHEAD = 200
"""How many bytes the record of a sync takes that is kept for its ops."""

MOST_OPS = 1024
"""How many ops are handed out together at most, however small they are: they take a millisecond."""

UNTRIMMED = 4096
"""How many bytes may be added at most until it is looked whether the tail is too large."""

CHECKSUM_SIZE = 4
"""How many bytes a fingerprint had when it was a checksum."""

_MARK = blake2b(digest_size=16)


def fingerprint(ops: Sequence[Op]) -> bytes:
    """Return a hash of ops, which tells a repeated sync from a reused id, even a forged one."""
    # The JSON of an op has no null byte in it.
    text = ops[0].json if len(ops) == 1 else b"\0".join([op.json for op in ops])
    # To copy a hash is faster than to make one.
    mark = _MARK.copy()
    mark.update(text)
    return mark.digest()


def _checksum(ops: Iterable[Op]) -> bytes:
    """Return what `fingerprint` was in earlier versions; their records are kept for ever."""
    checksum = 0
    for op in ops:
        checksum = zlib.crc32(b"\0", zlib.crc32(op.json, checksum))
    return checksum.to_bytes(CHECKSUM_SIZE, "big")


@define(eq=False, weakref_slot=False)
class OpLog:
    """What a gathering remembers of its log; the store remembers the rest."""

    tail_bytes: int
    recent_syncs: int
    epoch: str = ""
    """The incarnation whose log this is; it is recorded with each op that is added."""
    seq: int = 0
    """The last seq given."""
    committed: int = 0
    """The last seq that is durable."""
    time: int = 0
    """The last op's time, in milliseconds since 1970."""
    head: bytes = b""
    """The newest head of the chain that is known."""
    head_seq: int = 0
    """The op after which the chain has that head: `committed`, if the store computes each."""
    first_seq: int = 1
    """The first op that the store has; those before it were left out."""
    epoch_before: str = ""
    """The epoch of the op before that one."""
    syncs: SyncIds = field(init=False)
    added: int = 0
    """About how many bytes all ops so far have taken; of restored ones, those in the tail."""
    look_at: int = 0
    """Once `added` is greater, `trim` is to be called."""
    _trimmed: int = 0
    """How many of these bytes were left to the store."""
    _snapshotted: int = 0
    """How many of these bytes the last snapshot stands for."""
    _tail: list[LoggedOp] = field(factory=list)
    _tail_syncs: list[SyncRecord] = field(factory=list)
    """The syncs that the ops in the tail came from, in order: all that are known."""
    _before: str | None = ""
    """The epoch of the op before the tail; None where only the store knows."""
    author: str | None = None
    """The scope that submitted the last ops of the log: all from `author_from` on."""
    author_from: int = 1
    _uncommitted_syncs: list[SyncRecord] = field(factory=list)
    _appended: Append | None = None
    """What `append` made last, until it is durable."""

    def __attrs_post_init__(self) -> None:
        self.syncs = SyncIds(self.recent_syncs)

    def restore(self, restored: Restored) -> None:
        """Take over what the store had."""
        self.seq = self.committed = restored.seq
        self.time = restored.time
        self.head, self.head_seq = restored.head, restored.seq
        self.first_seq, self.epoch_before = restored.first_seq, restored.epoch_before
        self.syncs.restore(restored.recent, restored.has_older)
        self._tail = list(restored.ops)
        self._before = None if self._tail else restored.epoch
        self.added = sum(len(logged.json) + OP_OVERHEAD for logged in self._tail)
        self._tail_syncs = list(restored.recent)
        known_from = 0
        if restored.has_older:
            # The store has the syncs that earlier ops came from.
            known_from = restored.recent[0].first_seq if restored.recent else self.seq + 1
        self._drop(max(0, known_from - self.tail_start))
        self.trim()
        self.author_from = self.seq + 1
        for record in reversed(restored.recent):
            if self.author not in (None, record.scope):
                break
            self.author = record.scope
            self.author_from = record.first_seq

    @property
    def tail_start(self) -> int:
        """The first seq in memory (`seq` + 1 if none is)."""
        return self.seq - len(self._tail) + 1

    @property
    def tail_size(self) -> int:
        """About how many bytes the ops in memory take, with the syncs that they came from."""
        return self.added - self._trimmed + len(self._tail_syncs) * SYNC_OVERHEAD

    def epoch_of(self, seq: int) -> str | None:
        """Return the epoch of the op `seq`; None where only the store can tell."""
        start = self.tail_start
        if start <= seq <= self.seq:
            return self._tail[seq - start].epoch
        if seq == start - 1 and self._before is not None:
            return self._before
        return self.epoch_before if 0 < seq == self.first_seq - 1 else None

    @property
    def since_snapshot(self) -> int:
        """About how many bytes the ops after the last snapshot take."""
        return self.added - self._snapshotted

    def snapshotted(self) -> None:
        """Note that the store has a snapshot of the state after the last op."""
        self._snapshotted = self.added

    @staticmethod
    def same(record: SyncRecord, sync: Sync) -> SyncRecord:
        """Return `record` if it is this sync's; raise `SyncIdReused` if not."""
        mark = _checksum if len(record.fingerprint) == CHECKSUM_SIZE else fingerprint
        if record.fingerprint != mark(sync.ops):
            raise SyncIdReused(f"the id {sync.id!r} was used before, for other ops")
        return record

    def check_seq(self, seq: int, what: str) -> None:
        """Raise `BadBase` if `seq` lies beyond the end of the log."""
        if seq > self.seq:
            raise BadBase(f"{what} is {seq}, but the last op is {self.seq}")

    def add(
        self,
        ops: Sequence[Op],
        *,
        key: SyncKey,
        mark: bytes,
        by: str | None,
        time: int = 0,
    ) -> SyncRecord:
        """Give seqs to the judged ops of a sync; `mark` is its fingerprint.

        What is committed together has the same `time`, which is never before that of the log.
        """
        self.time = time
        first, count = self.seq + 1, len(ops)
        size = 0
        for op in ops:
            json = op.json
            self._tail.append(LoggedOp(json, by, self.epoch, time))
            size += len(json) + OP_OVERHEAD
        self.seq += count
        self.added += size
        if self.author != key[0]:
            self.author, self.author_from = key[0], first
        record = SyncRecord(key[0], key[1], first, count, mark)
        self.syncs.add(key, record)
        self._tail_syncs.append(record)
        self._uncommitted_syncs.append(record)
        return record

    def uncommitted(self) -> tuple[tuple[LoggedOp, ...], tuple[SyncRecord, ...]]:
        """Return what the store must be given: the ops after `committed`, and their syncs."""
        ops = self._tail[len(self._tail) - (self.seq - self.committed) :]
        return tuple(ops), tuple(self._uncommitted_syncs)

    @property
    def uncommitted_syncs(self) -> int:
        """How many syncs aren't durable yet."""
        return len(self._uncommitted_syncs)

    def append(self, gathering: str, state: bytes | None = None) -> Append:
        """Return what the store must be given, with `state`, if the state is to be kept."""
        committed = self.committed
        ops = tuple(self._tail[committed - self.seq :]) if self.seq > committed else ()
        syncs = tuple(self._uncommitted_syncs)
        before = self.head if self.head_seq == committed else None
        append = Append(gathering, committed + 1, ops, syncs, None, None, before)
        if state is not None:
            head = head_of(append)
            append.snapshot = Snapshot(self.seq, state, state_digest(head, state) if head else b"")
        self._appended = append
        return append

    def commit(self) -> None:
        """Note that everything that was added is durable now. It stays in memory until `trim`."""
        self.committed = self.seq
        appended, self._appended = self._appended, None
        if appended is not None and appended.head is not None:
            self.head, self.head_seq = appended.head, self.seq
        self._uncommitted_syncs.clear()

    # Handing over.

    def since(self, seq: int) -> tuple[list[LoggedOp], list[SyncRecord]] | None:
        """Return the durable ops after `seq`, and their syncs.

        None where not all of them are in memory any more.
        """
        start = self.tail_start
        syncs = self.syncs.since(seq, self.committed)
        if seq + 1 < start or sum(one.count for one in syncs) != self.committed - seq:
            return None
        return self._tail[seq + 1 - start : self.committed + 1 - start], syncs

    def is_in(self, restored: Restored) -> bool:
        """Return whether what was restored is this log, as far as we know how it ends."""
        known = self.head if self.head_seq == self.committed else b""
        return restored.seq == self.committed and restored.head.startswith(known)

    def follow(self, ops: Sequence[LoggedOp], syncs: Iterable[SyncRecord], head: bytes) -> None:
        """Take what another process has added, and made durable.

        Args:
            ops: The next ones.
            syncs: Their syncs.
            head: The head of the chain after them; empty where that isn't known.
        """
        self._tail += ops
        self.seq += len(ops)
        self.committed = self.seq
        self.added += sum(len(logged.json) + OP_OVERHEAD for logged in ops)
        if ops:
            self.time = ops[-1].time
        for record in syncs:
            if self.author != record.scope:
                self.author, self.author_from = record.scope, record.first_seq
            self.syncs.add((record.scope, record.id), record)
        if head:
            self.head, self.head_seq = head, self.seq
        self.trim()

    def proven(self, seq: int, head: bytes) -> None:
        """Take the head after the durable op `seq`, as the store says."""
        if seq > self.head_seq:
            self.head, self.head_seq = head, seq

    def trim(self) -> None:
        """Leave the oldest ops and syncs to the store, if there are too many in memory."""
        self.look_at = self.added + min(UNTRIMMED, self.tail_bytes // TRIMMED_PART)
        self.syncs.trim()
        if self.tail_size > self.tail_bytes:
            self._trim()

    def slice(
        self, after: int, up_to: int, max_bytes: int, *, most: int = MOST_OPS
    ) -> list[LoggedOp]:
        """Return consecutive ops of the tail.

        Args:
            after: The seq before that of the first op.
            up_to: The seq of the last op, at most.
            max_bytes: How many bytes they may have as encoded. One op is always returned.
            most: How many ops are returned at most.

        Raises:
            LookupError: The first op isn't in memory any more: the store has it.
        """
        start = self.tail_start
        if after + 1 < start:
            raise LookupError(f"seq {after + 1} is no longer in memory")
        found: list[LoggedOp] = []
        size = 0
        for logged in self._tail[after + 1 - start : min(up_to, after + most) + 1 - start]:
            size += encoded_size(logged)
            if found and size > max_bytes:
                break
            found.append(logged)
        return found

    def syncs_of(self, after: int, up_to: int) -> tuple[SyncRun, ...]:
        """Return the syncs that ops of the tail came from, from `after` + 1 to `up_to`."""
        return tuple(one.run for one in syncs_between(self._tail_syncs, after, up_to))

    def _trim(self) -> None:
        # Many at once, since taking the first ones out of a list moves all the others.
        left = self.tail_size - self.tail_bytes + self.tail_bytes // TRIMMED_PART
        # The syncs that they came from go along.
        each = OP_OVERHEAD + len(self._tail_syncs) * SYNC_OVERHEAD // len(self._tail)
        count = 0
        for logged in self._tail[: self.committed + 1 - self.tail_start]:
            if left <= 0:
                break
            left -= len(logged.json) + each
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        """Leave the first ops of the tail to the store, and the syncs of which none is left."""
        if count:
            dropped = self._tail[:count]
            self._trimmed += sum([len(one.json) for one in dropped]) + count * OP_OVERHEAD
            self._before = dropped[-1].epoch
            del self._tail[:count]
        syncs = self._tail_syncs
        del syncs[: bisect_left(syncs, self.tail_start, key=_last_seq)]


def _last_seq(record: SyncRecord) -> int:
    return record.last_seq
