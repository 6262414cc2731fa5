"""The reads of one gathering, each at one moment of the database's. All on a worker thread."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, LiteralString

from psycopg.abc import Params

from squire_gatherings._rules.chain import begins_with, state_digest, unsealed_time
from squire_gatherings._stores.common import is_storable, page
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.tables import (
    PAGE,
    ROWS,
    SYNC,
    LogRow,
    can_be_asked,
    find_gathering,
    find_snapshot,
    find_syncs_of,
    find_time_and_head,
    find_tombstone,
    head_after,
    ops_size,
    sync_records,
)
from squire_gatherings._stores.postgres.tables import find_syncs as find_records
from squire_gatherings._stores.postgres.transactions import one_moment
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import LoggedOp, Restored, Snapshot, SyncRecord

_LOG = """
SELECT g.head, g.chain, g.first_seq, g.before, g.epoch_before, g.time_before, last.time,
    coalesce((SELECT epoch FROM {s}.ops WHERE gathering = g.key AND epoch IS NOT NULL
        ORDER BY seq DESC LIMIT 1), g.epoch_before),
    coalesce((SELECT epoch FROM {s}.ops WHERE gathering = g.key AND epoch IS NOT NULL
        AND seq <= coalesce(p.seq, 0) + 1 ORDER BY seq DESC LIMIT 1), g.epoch_before),
    p.seq, p.state, p.digest, (SELECT head FROM {s}.ops WHERE gathering = g.key AND seq = p.seq)
FROM {s}.gatherings AS g
LEFT JOIN {s}.ops AS last ON last.gathering = g.key AND last.seq = g.head
LEFT JOIN LATERAL (SELECT seq, state, digest FROM {s}.snapshots WHERE gathering = g.key
    ORDER BY seq DESC LIMIT 1) AS p ON true
WHERE g.id = %s AND g.head > 0"""
_OPS = """
SELECT op, by, epoch, time FROM {s}.ops
WHERE gathering = (SELECT key FROM {s}.gatherings WHERE id = %(id)s) AND seq > coalesce(
    (SELECT max(p.seq) FROM {s}.snapshots AS p JOIN {s}.gatherings AS g ON g.key = p.gathering
    WHERE g.id = %(id)s), 0)
ORDER BY seq"""
_SYNCS: LiteralString = f"""
SELECT {SYNC} FROM {{s}}.syncs
WHERE gathering = (SELECT key FROM {{s}}.gatherings WHERE id = %s)
ORDER BY first_seq DESC LIMIT %s"""
_TOMBSTONE = "SELECT head FROM {s}.tombstones WHERE id = %s"


def load(connection: Connection, schema: str, gathering: str, recent_syncs: int) -> Restored:
    """Read what a new incarnation starts from, on one way to the database and back."""
    if not can_be_asked(gathering):
        return Restored()
    with connection.pipeline(), one_moment(connection):
        asked: tuple[tuple[LiteralString, Params], ...] = (
            (_LOG, (gathering,)),
            (_OPS, {"id": gathering}),
            (_SYNCS, (gathering, recent_syncs + 1)),
            (_TOMBSTONE, (gathering,)),
        )
        cursors = [
            connection.execute(statement(text, schema), values, binary=True)
            for text, values in asked
        ]
    row, rows, records, tombstone = (cursor.fetchall() for cursor in cursors)
    if not row:
        return Restored(head=tombstone[0][0] if tombstone else b"")
    seq, chain, first_seq, before, epoch_before, sealed, time, epoch, begins_in, *kept = row[0]
    snapshot = None
    if kept[0] is not None:
        *values, head = kept
        snapshot = Snapshot(*values)
        _check_state(gathering, snapshot, before if snapshot.seq < first_seq else head)
    syncs = tuple(sync_records(reversed(records)))
    return Restored(
        seq,
        snapshot,
        tuple(_logged(rows, begins_in.decode())),
        syncs[max(0, len(syncs) - recent_syncs) :],
        len(syncs) > recent_syncs,
        epoch.decode(),
        time or (0 if sealed is None else unsealed_time(sealed)),
        chain,
        first_seq,
        epoch_before.decode(),
    )


_BEGINNING = """
SELECT g.first_seq, coalesce((SELECT epoch FROM {s}.ops WHERE gathering = g.key
    AND epoch IS NOT NULL AND seq <= %s ORDER BY seq DESC LIMIT 1), g.epoch_before)
FROM {s}.gatherings AS g WHERE g.id = %s"""
_PAGE = PAGE.replace("%(key)s", "(SELECT key FROM {s}.gatherings WHERE id = %(id)s)")


def read(
    connection: Connection, schema: str, gathering: str, after: int, up_to: int, max_bytes: int
) -> tuple[LoggedOp, ...]:
    """Read consecutive ops: a page of them."""
    if not can_be_asked(gathering):
        return ()
    wanted = {"id": gathering, "first": after + 1, "last": up_to, "rows": ROWS}
    wanted["bytes"] = max(1, max_bytes)
    with connection.pipeline(), one_moment(connection):
        beginning = connection.execute(
            statement(_BEGINNING, schema), (after + 1, gathering), binary=True
        )
        cursor = connection.execute(statement(_PAGE, schema), wanted, binary=True)
    row, rows = beginning.fetchone(), cursor.fetchall()
    if row is None or after < row[0] - 1:
        # The first of them was left out: those that follow have other seqs.
        return ()
    values = ((op, by, epoch, time) for _, op, by, epoch, time, _, _ in rows)
    return page(_logged(values, row[1].decode()), max_bytes)


def _logged(rows: Iterable[tuple[Any, ...]], epoch: str) -> Iterator[LoggedOp]:
    """Give the ops of rows; `epoch` is the epoch of the first one."""
    for op, by, new_epoch, time in rows:
        if new_epoch is not None:
            epoch = new_epoch.decode()
        yield LoggedOp(op, None if by is None else by.decode(), epoch, time)


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


def _check_state(gathering: str, snapshot: Snapshot, head: bytes | None) -> None:
    """Raise `StoreUnavailable` if a state isn't the one that was committed."""
    if snapshot.digest and head and snapshot.digest != state_digest(head, snapshot.state):
        raise StoreUnavailable(
            f"{gathering}: the snapshot of op {snapshot.seq} isn't what was committed: see `verify`"
        )


def changes(connection: Connection, schema: str) -> int:
    """Return how often whole logs were changed."""
    row = connection.execute(statement("SELECT number FROM {s}.changes", schema)).fetchone()
    return 0 if row is None else int(row[0])
