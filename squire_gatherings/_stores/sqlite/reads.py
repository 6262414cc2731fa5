"""The reads: first what the tables have, and after that what is still in the journal.

Reading never folds: it needs no lock, and works while the file is locked or the disk full.
`unfolded` is what memory knows to be in the journal (see `Unfolded.of`). It is taken before the
reading begins, so what has been folded since is in the tables.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain

from squire_gatherings._rules.chain import begins_with, head_of, state_digest
from squire_gatherings._stores.common import is_storable, page
from squire_gatherings._stores.sqlite.journal import newer_appends
from squire_gatherings._stores.sqlite.tables import (
    find_beginning,
    find_epoch,
    find_last_time,
    find_ops,
    find_seq_at,
    find_snapshot,
    find_sync,
    find_syncs_of,
    find_time_and_head,
    find_tombstone,
    head_in_tables,
    key_and_head,
    ops_size,
)
from squire_gatherings._stores.sqlite.transactions import one_moment
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord

Known = tuple[int, tuple[Append, ...]]
"""The last entry of the journal that memory knows, and a gathering's appends up to there."""


def load(
    database: sqlite3.Connection, gathering: str, recent_syncs: int, unfolded: Known
) -> Restored:
    """Read what a new incarnation starts from, all at one moment."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        later = _later(database, gathering, head, unfolded)
        snapshot = _snapshot(database, key, later)
        after = 0 if snapshot is None else snapshot.seq
        if snapshot is not None and snapshot.digest:
            _check_state(database, key, later, gathering, snapshot)
        ops = tuple(
            chain(find_ops(database, key, after + 1, head), _later_ops(later, max(after, head)))
        )
        syncs = [sync for append in later for sync in append.syncs]
        missing = max(0, recent_syncs + 1 - len(syncs))
        newest = database.execute(
            "SELECT scope, id, first_seq, count, fingerprint FROM syncs"
            " WHERE gathering = ? ORDER BY first_seq DESC LIMIT ?",
            (key, missing),
        ).fetchall()
        syncs = [*(SyncRecord(*one) for one in reversed(newest)), *syncs]
        seq = head + sum(len(append.ops) for append in later)
        recent = tuple(syncs[max(0, len(syncs) - recent_syncs) :])
        last = next((append.ops[-1] for append in reversed(later) if append.ops), None)
        has_older = len(syncs) > recent_syncs
        first_seq = find_beginning(database, key)[0]
        epoch_before = find_epoch(database, key, first_seq - 1) if first_seq > 1 else ""
        if last is None:
            epoch = find_epoch(database, key, head)
            time, chained = _end(database, gathering, key, head)
        else:
            epoch, time = last.epoch, last.time
            chained = next(head_of(append) for append in reversed(later) if append.ops)
        return Restored(
            seq,
            snapshot,
            ops,
            recent,
            has_older,
            epoch,
            time,
            chained,
            first_seq,
            epoch_before,
        )


def read(
    database: sqlite3.Connection,
    gathering: str,
    after: int,
    up_to: int,
    max_bytes: int,
    unfolded: Known,
) -> tuple[LoggedOp, ...]:
    """Read consecutive ops: a page of them."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        if after < find_beginning(database, key)[0] - 1:
            # The first of them was left out: those that follow have other seqs.
            return ()
        ops = find_ops(database, key, after + 1, up_to)
        if up_to > head:
            later = _later(database, gathering, head, unfolded)
            ops = chain(ops, _later_ops(later, max(after, head), up_to))
        return page(ops, max_bytes)


def size(database: sqlite3.Connection, gathering: str, unfolded: Known) -> int:
    """Return how many bytes the ops of a log have."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        later = _later(database, gathering, head, unfolded)
        return ops_size(database, key) + sum(
            len(one.json) for append in later for one in append.ops
        )


def find_syncs(
    database: sqlite3.Connection,
    gathering: str,
    keys: Sequence[tuple[str, str]],
    unfolded: Known,
) -> dict[tuple[str, str], SyncRecord]:
    """Find which of these (scope, id) were applied."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        later = _later(database, gathering, head, unfolded)
        wanted = {key for key in keys if is_storable(key[0]) and is_storable(key[1])}
        found = {
            (sync.scope, sync.id): sync
            for append in later
            for sync in append.syncs
            if (sync.scope, sync.id) in wanted
        }
        for scope, sync_id in wanted - found.keys():
            record = None if key is None else find_sync(database, key, scope, sync_id)
            if record is not None:
                found[scope, sync_id] = record
        return found


def sync_ids(
    database: sqlite3.Connection, gathering: str, scope: str, limit: int, unfolded: Known
) -> tuple[str, ...]:
    """Return ids of the syncs of one scope, at most `limit` of them."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        if not is_storable(scope):
            return ()
        rows = database.execute(
            "SELECT id FROM syncs WHERE gathering = ? AND scope = ? LIMIT ?", (key, scope, limit)
        )
        ids = [one for [one] in rows]
        later = _later(database, gathering, head, unfolded)
        ids += [sync.id for append in later for sync in append.syncs if sync.scope == scope]
        return tuple(ids[:limit])


def syncs_of(
    database: sqlite3.Connection, gathering: str, after: int, up_to: int, unfolded: Known
) -> tuple[SyncRecord, ...]:
    """Find the syncs that ops came from, in order."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        found = list(find_syncs_of(database, key, after + 1, up_to))
        if up_to > head:
            later = _later(database, gathering, head, unfolded)
            found += [
                sync
                for append in later
                if append.first_seq <= up_to and append.last_seq > after
                for sync in append.syncs
                if sync.first_seq <= up_to and sync.last_seq > after
            ]
        return tuple(found)


def find_head(
    database: sqlite3.Connection, gathering: str, seq: int, unfolded: Known
) -> bytes | None:
    """Find the head of the chain after the op `seq`; None if the log begins after it."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        if seq > head:
            later = _later(database, gathering, head, unfolded)
            ends = (one for one in later if one.ops and one.last_seq == seq)
            return next((head_of(one) for one in ends), b"")
        return _head_in_tables(database, key, seq)


def _head_in_tables(database: sqlite3.Connection, key: int | None, seq: int) -> bytes | None:
    first, before = find_beginning(database, key)
    if seq < first:
        return before if seq == first - 1 else None
    return find_time_and_head(database, key, seq)[1]


def snapshot_at(
    database: sqlite3.Connection, gathering: str, seq: int, unfolded: Known
) -> Snapshot | None:
    """Find the newest snapshot of the state after the op `seq`, or an earlier one."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        for append in reversed(_later(database, gathering, head, unfolded)):
            if append.snapshot is not None and append.snapshot.seq <= seq:
                return append.snapshot
        return find_snapshot(database, key, seq)


def has_log(
    database: sqlite3.Connection,
    gathering: str,
    first_seq: int | None,
    seq: int,
    chained: bytes,
    unfolded: Known,
) -> bool:
    """Return whether a log begins with `first_seq`, and has that head after the op `seq`."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        if first_seq not in (None, find_beginning(database, key)[0]):
            return False
        if seq > head:
            later = _later(database, gathering, head, unfolded)
            return any(
                begins_with(head_of(append), chained) for append in later if append.last_seq == seq
            )
        if key is None:
            return begins_with(_end(database, gathering, key, head)[1], chained)
        return begins_with(head_in_tables(database, key, seq), chained)


def seq_at(database: sqlite3.Connection, gathering: str, time: int, unfolded: Known) -> int:
    """Find the last op that was committed by an instant."""
    with one_moment(database):
        key, head = key_and_head(database, gathering)
        later = _later(database, gathering, head, unfolded)
        seq = find_seq_at(database, key, head, time)
        if seq == head:
            for logged in _later_ops(later, head):
                if logged.time > time:
                    break
                seq += 1
        return seq


def _end(
    database: sqlite3.Connection, gathering: str, key: int | None, head: int
) -> tuple[int, bytes]:
    """Return the time of the last op that the tables have, and the chain's head after it."""
    if key is None:
        tombstone = find_tombstone(database, gathering) if is_storable(gathering) else None
        return 0, b"" if tombstone is None else tombstone.head
    return find_last_time(database, key, head), head_in_tables(database, key, head)


def _later(
    database: sqlite3.Connection, gathering: str, head: int, unfolded: Known
) -> list[Append]:
    """Return the appends that go on where the tables end, each once."""
    last, known = unfolded
    later: list[Append] = []
    if not head and known and find_tombstone(database, gathering) is not None:
        # Somebody else has deleted what memory knows. What comes after that is never in a journal.
        return later
    for append in (*known, *newer_appends(database, last)):
        if append.gathering == gathering and append.first_seq == head + 1:
            later.append(append)
            head += len(append.ops)
    return later


def _later_ops(later: Sequence[Append], after: int, up_to: int | None = None) -> Iterator[LoggedOp]:
    for append in later:
        start = max(0, after + 1 - append.first_seq)
        stop = None if up_to is None else max(0, up_to + 1 - append.first_seq)
        yield from append.ops[start:stop]


def _snapshot(
    database: sqlite3.Connection, key: int | None, later: Sequence[Append]
) -> Snapshot | None:
    for append in reversed(later):
        if append.snapshot is not None:
            return append.snapshot
    return find_snapshot(database, key)


def _check_state(
    database: sqlite3.Connection,
    key: int | None,
    later: Sequence[Append],
    gathering: str,
    snapshot: Snapshot,
) -> None:
    """Raise `StoreUnavailable` if a state isn't the one that was committed."""
    ends = {append.last_seq: head_of(append) for append in later if append.ops}
    head = ends.get(snapshot.seq)
    if head is None:
        head = _head_in_tables(database, key, snapshot.seq)
    if head and snapshot.digest != state_digest(head, snapshot.state):
        raise StoreUnavailable(
            f"{gathering}: the snapshot of op {snapshot.seq} isn't what was committed: see `verify`"
        )
