"""The tables: how the rows of one gathering are found. All calls are on a worker thread."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, LiteralString

from attrs import frozen

from squire_gatherings._hall.store import READ_LIMIT
from squire_gatherings._rules.chain import unsealed_time
from squire_gatherings._stores.common import is_storable
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.archive import Tombstone
from squire_gatherings._values.log import LoggedOp, Snapshot, SyncRecord

ROWS = READ_LIMIT
"""How many ops are read at once, at most."""

PAGE_BYTES = 4 << 20
"""About how many bytes these have, at most."""


PAGE: LiteralString = """
SELECT seq, op, by, epoch, time, head, name FROM (
    SELECT *, sum(octet_length(op)) OVER (ORDER BY seq) - octet_length(op) AS before FROM (
        SELECT * FROM {s}.ops WHERE gathering = %(key)s AND seq BETWEEN %(first)s AND %(last)s
        ORDER BY seq LIMIT %(rows)s
    ) AS next
) AS page WHERE before < %(bytes)s ORDER BY seq"""
"""The rows of consecutive ops, as many as have about so many bytes, and at least one."""


@frozen
class LogRow:
    """The row of a gathering. One without ops, and with none left out, has no log yet."""

    key: int
    owner: int | None
    owner_epoch: int
    head: int
    chain: bytes
    first_seq: int
    before: bytes
    epoch_before: str
    sealed_time: bytes | None
    """The time before the log, with its proof."""
    epoch: str
    """The epoch of the last op."""

    @property
    def time_before(self) -> int:
        """The time of the last op that was left out; 0 if none was."""
        return 0 if self.sealed_time is None else unsealed_time(self.sealed_time)


def find_gathering(
    connection: Connection, schema: str, gathering: str, *, lock: bool = False
) -> LogRow | None:
    """Return the row of a gathering, if there is one.

    Args:
        connection: To the database.
        schema: The store's schema.
        gathering: Its id.
        lock: Whether nobody else may change it until the transaction ends.
    """
    if not can_be_asked(gathering):
        return None
    row = connection.execute(
        statement(_LOCKED if lock else _GATHERING, schema), (gathering,), binary=True
    ).fetchone()
    if row is None:
        return None
    key, owner, owner_epoch, head, chain, first_seq, before, epoch_before, sealed, epoch = row
    return LogRow(
        key,
        owner,
        owner_epoch,
        head,
        chain,
        first_seq,
        before,
        epoch_before.decode(),
        sealed,
        epoch.decode(),
    )


_GATHERING = """
SELECT key, owner, owner_epoch, head, chain, first_seq, before, epoch_before, time_before,
    coalesce((SELECT epoch FROM {s}.ops WHERE gathering = g.key AND epoch IS NOT NULL
        ORDER BY seq DESC LIMIT 1), epoch_before)
FROM {s}.gatherings AS g WHERE id = %s"""
_LOCKED = _GATHERING + " FOR UPDATE OF g"


def can_be_asked(text: str) -> bool:
    """Return whether a text can be compared with one of PostgreSQL's; others are nowhere."""
    return is_storable(text) and "\0" not in text


def find_tombstone(connection: Connection, schema: str, gathering: str) -> Tombstone | None:
    """Return what was left of a log of this id that was deleted."""
    if not can_be_asked(gathering):
        return None
    row = connection.execute(
        statement("SELECT id, seq, head, time FROM {s}.tombstones WHERE id = %s", schema),
        (gathering,),
        binary=True,
    ).fetchone()
    return None if row is None else Tombstone(*row)


def find_ops(
    connection: Connection, schema: str, key: int, first: int, last: int
) -> Iterator[LoggedOp]:
    """Give the ops that there are from seq `first` to `last`."""
    for _, logged, _, _ in find_op_rows(connection, schema, key, first, last):
        yield logged


def find_op_rows(
    connection: Connection, schema: str, key: int, first: int, last: int
) -> Iterator[tuple[int, LoggedOp, bytes | None, str | None]]:
    """Give the ops with their seqs, the heads after them, and the chain's id for them."""
    epoch: str | None = None
    while first <= last:
        rows = connection.execute(
            statement(PAGE, schema),
            {"key": key, "first": first, "last": last, "rows": ROWS, "bytes": PAGE_BYTES},
            binary=True,
        ).fetchall()
        if not rows:
            return
        if epoch is None:
            epoch = find_epoch(connection, schema, key, rows[0][0])
        for seq, op, by, new_epoch, time, head, name in rows:
            if new_epoch is not None:
                epoch = new_epoch.decode()
            yield seq, LoggedOp(op, None if by is None else by.decode(), epoch, time), head, name
        first = rows[-1][0] + 1


def find_epoch(connection: Connection, schema: str, key: int, seq: int) -> str:
    """Return the epoch of an op; "" if it has none."""
    row = connection.execute(
        statement(
            "SELECT coalesce((SELECT epoch FROM {s}.ops WHERE gathering = %(key)s"
            " AND seq <= %(seq)s AND epoch IS NOT NULL ORDER BY seq DESC LIMIT 1),"
            " (SELECT epoch_before FROM {s}.gatherings WHERE key = %(key)s), '')",
            schema,
        ),
        {"key": key, "seq": seq},
        binary=True,
    ).fetchone()
    return "" if row is None else str(row[0].decode())


SYNC: LiteralString = "scope, id, first_seq, count, fingerprint"


def find_syncs(
    connection: Connection, schema: str, key: int, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], SyncRecord]:
    """Return the records of those of these (scope, id) that there are."""
    keys = [one for one in wanted if is_storable(one[0]) and is_storable(one[1])]
    if not keys:
        return {}
    rows = connection.execute(
        statement(
            f"SELECT {SYNC} FROM {{s}}.syncs JOIN unnest(%(scopes)b::bytea[], %(ids)b::bytea[])"
            " AS w (scope, id) USING (scope, id) WHERE gathering = %(key)s",
            schema,
        ),
        {
            "key": key,
            "scopes": [scope.encode() for scope, _ in keys],
            "ids": [one.encode() for _, one in keys],
        },
        binary=True,
    )
    return {(one.scope, one.id): one for one in sync_records(rows)}


def find_syncs_from(
    connection: Connection, schema: str, key: int, first: int, last: int
) -> tuple[SyncRecord, ...]:
    """Return the records of the syncs whose first ops are those from seq `first` to `last`."""
    rows = connection.execute(
        statement(
            f"SELECT {SYNC} FROM {{s}}.syncs WHERE gathering = %s"
            " AND first_seq BETWEEN %s AND %s ORDER BY first_seq, scope, id",
            schema,
        ),
        (key, first, last),
        binary=True,
    )
    return tuple(sync_records(rows))


def find_syncs_of(
    connection: Connection, schema: str, key: int, first: int, last: int
) -> tuple[SyncRecord, ...]:
    """Return the records of the syncs that the ops from seq `first` to `last` came from."""
    rows = connection.execute(
        statement(
            f"SELECT {SYNC} FROM {{s}}.syncs WHERE gathering = %(key)s"
            " AND first_seq <= %(last)s AND first_seq >= coalesce((SELECT max(first_seq)"
            " FROM {s}.syncs WHERE gathering = %(key)s AND first_seq <= %(first)s), 0)"
            " ORDER BY first_seq, scope, id",
            schema,
        ),
        {"key": key, "first": first, "last": last},
        binary=True,
    )
    return tuple(one for one in sync_records(rows) if one.last_seq >= first)


def sync_records(rows: Iterable[Sequence[Any]]) -> Iterator[SyncRecord]:
    """Give the syncs of rows."""
    for scope, one, first_seq, count, fingerprint in rows:
        yield SyncRecord(scope.decode(), one.decode(), first_seq, count, fingerprint)


def ops_size(
    connection: Connection, schema: str, key: int, after: int = 0, up_to: int = 2**63 - 1
) -> int:
    """Return how many bytes the ops have after one seq and up to another, each as its JSON."""
    row = connection.execute(
        statement(
            "SELECT coalesce(sum(octet_length(op)), 0)::bigint FROM {s}.ops"
            " WHERE gathering = %s AND seq > %s AND seq <= %s",
            schema,
        ),
        (key, after, up_to),
    ).fetchone()
    return 0 if row is None else int(row[0])


def find_time_and_head(
    connection: Connection, schema: str, key: int, seq: int
) -> tuple[int, bytes]:
    """Return the time of an op, and the chain's head after it: empty where no append ended."""
    row = connection.execute(
        statement("SELECT time, head FROM {s}.ops WHERE gathering = %s AND seq = %s", schema),
        (key, seq),
        binary=True,
    ).fetchone()
    return (0, b"") if row is None else (row[0], row[1] or b"")


def find_snapshot(
    connection: Connection, schema: str, key: int, seq: int = 2**63 - 1
) -> Snapshot | None:
    """Return the newest snapshot of the op `seq` or an earlier one."""
    row = connection.execute(
        statement(
            "SELECT seq, state, digest FROM {s}.snapshots WHERE gathering = %s AND seq <= %s"
            " ORDER BY seq DESC LIMIT 1",
            schema,
        ),
        (key, seq),
        binary=True,
    ).fetchone()
    return None if row is None else Snapshot(*row)


def head_after(connection: Connection, schema: str, log: LogRow, seq: int) -> bytes:
    """Return the head of the chain after an op, or before the first one; empty if none ended."""
    if seq == log.first_seq - 1:
        return log.before
    return log.chain if seq == log.head else find_time_and_head(connection, schema, log.key, seq)[1]
