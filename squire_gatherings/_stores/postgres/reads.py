"""The reads of one gathering, each at one moment of the database's. All on a worker thread."""

from collections.abc import Sequence

from squire_gatherings._rules.chain import begins_with, state_digest
from squire_gatherings._stores.common import is_storable, page
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.tables import (
    LogRow,
    find_gathering,
    find_newest_syncs,
    find_ops,
    find_snapshot,
    find_syncs_of,
    find_time_and_head,
    find_tombstone,
    head_after,
    ops_size,
)
from squire_gatherings._stores.postgres.tables import find_syncs as find_records
from squire_gatherings._stores.postgres.transactions import one_moment
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import LoggedOp, Restored, Snapshot, SyncRecord


def load(connection: Connection, schema: str, gathering: str, recent_syncs: int) -> Restored:
    """Read what a new incarnation starts from."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None or not log.head:
            tombstone = find_tombstone(connection, schema, gathering)
            return Restored(head=b"" if tombstone is None else tombstone.head)
        key = log.key
        snapshot = find_snapshot(connection, schema, key)
        after = 0 if snapshot is None else snapshot.seq
        if snapshot is not None and snapshot.digest:
            _check_state(connection, schema, log, gathering, snapshot)
        ops = tuple(find_ops(connection, schema, key, after + 1, log.head))
        syncs = find_newest_syncs(connection, schema, key, recent_syncs + 1)
        return Restored(
            log.head,
            snapshot,
            ops,
            tuple(syncs[max(0, len(syncs) - recent_syncs) :]),
            len(syncs) > recent_syncs,
            log.epoch,
            last_time(connection, schema, log, log.head),
            log.chain,
            log.first_seq,
            log.epoch_before,
        )


def read(
    connection: Connection, schema: str, gathering: str, after: int, up_to: int, max_bytes: int
) -> tuple[LoggedOp, ...]:
    """Read consecutive ops: a page of them."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None or after < log.first_seq - 1:
            # The first of them was left out: those that follow have other seqs.
            return ()
        last = min(up_to, log.head)
        return page(find_ops(connection, schema, log.key, after + 1, last), max_bytes)


def size(connection: Connection, schema: str, gathering: str) -> int:
    """Return how many bytes the ops of a log have."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        return 0 if log is None else ops_size(connection, schema, log.key)


def find_syncs(
    connection: Connection, schema: str, gathering: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], SyncRecord]:
    """Find which of these (scope, id) were applied."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        return {} if log is None else find_records(connection, schema, log.key, keys)


def sync_ids(
    connection: Connection, schema: str, gathering: str, scope: str, limit: int
) -> tuple[str, ...]:
    """Return ids of the syncs of one scope, at most `limit` of them."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None or not is_storable(scope):
            return ()
        rows = connection.execute(
            statement(
                "SELECT id FROM {s}.syncs WHERE gathering = %s AND scope = %s LIMIT %s", schema
            ),
            (log.key, scope.encode(), limit),
            binary=True,
        )
        return tuple(one.decode() for [one] in rows)


def syncs_of(
    connection: Connection, schema: str, gathering: str, after: int, up_to: int
) -> tuple[SyncRecord, ...]:
    """Find the syncs that ops came from, in order."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None:
            return ()
        return find_syncs_of(connection, schema, log.key, after + 1, up_to)


def find_head(connection: Connection, schema: str, gathering: str, seq: int) -> bytes | None:
    """Find the head of the chain after the op `seq`; None if the log begins after it."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None or not log.head:
            return b""
        if seq < log.first_seq:
            return log.before if seq == log.first_seq - 1 else None
        return head_after(connection, schema, log, seq)


def snapshot_at(connection: Connection, schema: str, gathering: str, seq: int) -> Snapshot | None:
    """Find the newest snapshot of the state after the op `seq`, or an earlier one."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        return None if log is None else find_snapshot(connection, schema, log.key, seq)


def has_log(
    connection: Connection,
    schema: str,
    gathering: str,
    first_seq: int | None,
    seq: int,
    chained: bytes,
) -> bool:
    """Return whether a log begins with `first_seq`, and has that head after the op `seq`."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        if log is None or not log.head:
            tombstone = find_tombstone(connection, schema, gathering)
            end = b"" if tombstone is None else tombstone.head
            return first_seq in (None, 1) and seq == 0 and begins_with(end, chained)
        if first_seq not in (None, log.first_seq):
            return False
        return begins_with(head_after(connection, schema, log, seq), chained)


def seq_at(connection: Connection, schema: str, gathering: str, time: int) -> int:
    """Find the last op that was committed by an instant."""
    with one_moment(connection):
        log = find_gathering(connection, schema, gathering)
        return 0 if log is None else find_seq_at(connection, schema, log, time)


def find_seq_at(connection: Connection, schema: str, log: LogRow, time: int) -> int:
    """Return the last op whose time isn't after `time`.

    Times never go back, so that a few rows tell.
    """
    before, after = log.first_seq - 1, log.head + 1
    while after - before > 1:
        middle = (before + after) // 2
        if find_time_and_head(connection, schema, log.key, middle)[0] <= time:
            before = middle
        else:
            after = middle
    return before


def last_time(connection: Connection, schema: str, log: LogRow, seq: int) -> int:
    """Return the time of the op `seq`, which may have been left out."""
    return find_time_and_head(connection, schema, log.key, seq)[0] or log.time_before


def _check_state(
    connection: Connection, schema: str, log: LogRow, gathering: str, snapshot: Snapshot
) -> None:
    """Raise `StoreUnavailable` if a state isn't the one that was committed."""
    head = head_after(connection, schema, log, snapshot.seq)
    if head and snapshot.digest != state_digest(head, snapshot.state):
        raise StoreUnavailable(
            f"{gathering}: the snapshot of op {snapshot.seq} isn't what was committed: see `verify`"
        )


def changes(connection: Connection, schema: str) -> int:
    """Return how often whole logs were changed."""
    row = connection.execute(statement("SELECT number FROM {s}.changes", schema)).fetchone()
    return 0 if row is None else int(row[0])
