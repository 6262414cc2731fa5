"""The tables: how their rows are found and inserted, many with one statement.

Each statement releases the interpreter's lock and waits for it again: a thousand rows in a
thousand statements would wait a thousand times while the server is busy.

An epoch has a row only where it changes; each op has its time, by which it can be found. The last
op of each append has the head of the chain after it.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from squire_gatherings._rules.chain import head_of, unsealed_time
from squire_gatherings._stores.common import is_storable
from squire_gatherings._values.archive import Tombstone
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord, of_each

_AT_ONCE = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows go into one statement: a few sizes, so that statements stay prepared."""

OP_COLUMNS = "gathering, seq, by, op, time, head"
BOUND_OP = "(?, ?, nullif(?, 0), ?, ?, nullif(?, 0))"
"""What stands in a statement for an op whose values are `bound_ops`."""
SYNC_COLUMNS = "gathering, scope, id, first_seq, count, fingerprint"

Row = tuple[Any, ...]
TableKey = tuple[int, str, str]
"""A gathering's key, and the scope and the id of one of its syncs."""


# Many rows at once.


def insert_rows(
    database: sqlite3.Connection,
    into: str,
    rows: Sequence[Row],
    *,
    place: str | None = None,
    on_conflict: str = "",
) -> None:
    """Insert `rows`, all of the same width.

    Args:
        database: Where to; a transaction is the caller's.
        into: The table, with its columns.
        rows: The values.
        place: What stands in the statement for a row, if that isn't only its values.
        on_conflict: The SQL clause for rows that are there already.
    """
    done = 0
    if place is None and rows:
        place = f"({','.join('?' * len(rows[0]))})"
    for size in _AT_ONCE:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            database.execute(
                _insert(into, size, place, on_conflict),
                tuple(chain.from_iterable(part)),
            )


def insert_entry(
    database: sqlite3.Connection, entry: bytes, version: int, absent: Sequence[TableKey]
) -> int | None:
    """Commit an entry of the journal, with one statement.

    Args:
        database: Where to; no transaction may be open.
        entry: The entry.
        version: The data version that the file must have: nobody else has written to it since.
        absent: The syncs that the tables mustn't have.

    Returns:
        The number of the entry, or None, with nothing written, if the file isn't as it must be.
    """
    most = len(absent) - _AT_ONCE[0]
    if most > 0:
        if has_any_sync(database, absent[:most]):
            return None
        absent = absent[most:]
    last = next(_padded(absent), ())
    # A write statement has the lock before it looks at anything, and commits at its end.
    inserted = database.execute(
        _insert_entry(len(last)), (entry, version, *chain.from_iterable(last))
    )
    return inserted.lastrowid if inserted.rowcount else None


def find_gatherings(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the key and the head of those gatherings that the tables have."""
    found: dict[str, tuple[int, int]] = {}
    for part in _padded([(one,) for one in ids]):
        rows = database.execute(_select_gatherings(len(part)), tuple(chain.from_iterable(part)))
        found.update((one, (key, head)) for one, key, head in rows)
    return found


def find_epochs(database: sqlite3.Connection, keys: Sequence[int]) -> dict[int, str]:
    """Return the epoch of the last op that the tables have of each of these gatherings."""
    found: dict[int, str] = {}
    for part in _padded([(one,) for one in keys]):
        rows = database.execute(_select_epochs(len(part)), tuple(chain.from_iterable(part)))
        found.update((key, epoch or "") for key, epoch in rows)
    return found


def has_any_sync(database: sqlite3.Connection, keys: Sequence[TableKey]) -> bool:
    """Return whether the tables have any of these syncs."""
    for part in _padded(keys):
        rows = database.execute(_select_syncs(len(part)), tuple(chain.from_iterable(part)))
        if rows.fetchone() is not None:
            return True
    return False


def op_rows(key: int, append: Append) -> list[Row]:
    """Return the rows of an append for the columns `OP_COLUMNS` of the ops."""
    rows: list[Row] = [
        (key, seq, one.by, one.json, one.time, None)
        for seq, one in enumerate(append.ops, start=append.first_seq)
    ]
    if rows and head_of(append):
        rows[-1] = (*rows[-1][:-1], append.head)
    return rows


def bound_ops(key: int, appends: Iterable[Append]) -> Iterator[Row]:
    """Give the rows of appends as `op_rows` does, in the form in which they are inserted fastest.

    Python's module takes an int, a str or a bytearray as it is. For anything else it looks for an
    adapter, which takes a fifth of the time that the whole row does. So none is 0 here.
    """
    for append in appends:
        seq = append.first_seq
        last = seq + len(append.ops) - 1
        for one in append.ops:
            by = 0 if one.by is None else one.by
            head = bytearray(head_of(append)) or 0 if seq == last else 0
            yield key, seq, by, bytearray(one.json), one.time, head
            seq += 1


def sync_rows(key: int, syncs: Iterable[SyncRecord]) -> list[Row]:
    """Return the rows of syncs for the columns `SYNC_COLUMNS`."""
    return [(key, s.scope, s.id, s.first_seq, s.count, s.fingerprint) for s in syncs]


# The rows of one gathering.


def key_and_head(database: sqlite3.Connection, gathering: str) -> tuple[int | None, int]:
    """Return where the tables end; no key, and 0, for a gathering that they don't have."""
    if not is_storable(gathering):
        return None, 0
    row = database.execute("SELECT key, head FROM gatherings WHERE id = ?", (gathering,)).fetchone()
    return (None, 0) if row is None else (row[0], row[1])


def ops_size(
    database: sqlite3.Connection, key: int | None, after: int = 0, up_to: int = 2**63 - 1
) -> int:
    """Return how many bytes the ops have after one seq and up to another, each as its JSON."""
    # SQLite reads only the length of a blob.
    [size] = database.execute(
        "SELECT coalesce(sum(length(op)), 0) FROM ops WHERE gathering = ? AND seq > ? AND seq <= ?",
        (key, after, up_to),
    ).fetchone()
    return int(size)


def find_sync(
    database: sqlite3.Connection, key: int, scope: str, sync_id: str
) -> SyncRecord | None:
    """Return the record of a sync, if the tables have it."""
    row = database.execute(
        "SELECT scope, id, first_seq, count, fingerprint FROM syncs"
        " WHERE gathering = ? AND scope = ? AND id = ?",
        (key, scope, sync_id),
    ).fetchone()
    return None if row is None else SyncRecord(*row)


def find_syncs_from(
    database: sqlite3.Connection, key: int | None, first: int, last: int
) -> tuple[SyncRecord, ...]:
    """Return the records of the syncs whose first ops are those from seq `first` to `last`."""
    rows = database.execute(
        "SELECT scope, id, first_seq, count, fingerprint FROM syncs"
        " WHERE gathering = ? AND first_seq BETWEEN ? AND ? ORDER BY first_seq, scope, id",
        (key, first, last),
    )
    return tuple(SyncRecord(*row) for row in rows)


def find_syncs_of(
    database: sqlite3.Connection, key: int | None, first: int, last: int
) -> tuple[SyncRecord, ...]:
    """Return the records of the syncs that the ops from seq `first` to `last` came from."""
    rows = database.execute(
        "SELECT max(first_seq) FROM syncs WHERE gathering = ? AND first_seq <= ?", (key, first)
    )
    [before] = rows.fetchone()
    found = find_syncs_from(database, key, first if before is None else before, last)
    return tuple(one for one in found if one.last_seq >= first)


def find_ops(
    database: sqlite3.Connection, key: int | None, first: int, last: int
) -> Iterator[LoggedOp]:
    """Return the ops that the tables have from seq `first` to `last`."""
    rows = database.execute(
        "SELECT by, op, time FROM ops WHERE gathering = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (key, first, last),
    )
    begin = database.execute(
        "SELECT first_seq, epoch FROM epochs WHERE gathering = ?1 AND first_seq <= ?3"
        " AND first_seq >= coalesce((SELECT max(first_seq) FROM epochs"
        " WHERE gathering = ?1 AND first_seq <= ?2), 0) ORDER BY first_seq",
        (key, first, last),
    )
    epochs = of_each(begin, first, before="")
    for (by, op, time), epoch in zip(rows, epochs, strict=False):
        yield LoggedOp(op, by, epoch, time)


def find_time_and_head(
    database: sqlite3.Connection, key: int | None, seq: int
) -> tuple[int, bytes]:
    """Return the time of an op that the tables have, and the chain's head after it.

    That is empty where no append ended.
    """
    row = database.execute(
        "SELECT time, head FROM ops WHERE gathering = ? AND seq = ?", (key, seq)
    ).fetchone()
    return (0, b"") if row is None else (row[0], row[1] or b"")


def find_time_before(database: sqlite3.Connection, key: int | None) -> int:
    """Return the time of the last op that was left out of a log; 0 if none was."""
    row = database.execute("SELECT time_before FROM gatherings WHERE key = ?", (key,)).fetchone()
    return 0 if row is None or row[0] is None else unsealed_time(row[0])


def find_last_time(database: sqlite3.Connection, key: int | None, seq: int) -> int:
    """Return the time of the op `seq`, with which a log ends; it may have been left out."""
    return find_time_and_head(database, key, seq)[0] or find_time_before(database, key)


def find_beginning(database: sqlite3.Connection, key: int | None) -> tuple[int, bytes]:
    """Return the first seq that the tables have of a gathering, and the chain's head before it."""
    row = database.execute(
        "SELECT first_seq, before FROM gatherings WHERE key = ?", (key,)
    ).fetchone()
    return (1, b"") if row is None else (row[0], row[1])


def head_in_tables(database: sqlite3.Connection, key: int | None, seq: int) -> bytes:
    """Return the head of the chain after an op of the tables, or before the first one."""
    first_seq, before = find_beginning(database, key)
    return before if seq == first_seq - 1 else find_time_and_head(database, key, seq)[1]


def find_tombstone(database: sqlite3.Connection, gathering: str) -> Tombstone | None:
    """Return what was left of a log of this id that was deleted."""
    row = database.execute(
        "SELECT id, seq, head, time FROM tombstones WHERE id = ?", (gathering,)
    ).fetchone()
    return None if row is None else Tombstone(*row)


def has_any_tombstone(database: sqlite3.Connection, ids: Sequence[str]) -> bool:
    """Return whether a log of any of these ids was deleted."""
    for part in _padded([(one,) for one in ids]):
        rows = database.execute(_select_tombstones(len(part)), tuple(chain.from_iterable(part)))
        if rows.fetchone() is not None:
            return True
    return False


def find_seq_at(database: sqlite3.Connection, key: int | None, last: int, time: int) -> int:
    """Return the last op, of those up to `last`, whose time isn't after `time`.

    Times never go back, so that a few rows tell.
    """
    first = find_beginning(database, key)[0]
    before, after = first - 1, last + 1
    while after - before > 1:
        middle = (before + after) // 2
        if find_time_and_head(database, key, middle)[0] <= time:
            before = middle
        else:
            after = middle
    return before


def find_snapshot(
    database: sqlite3.Connection, key: int | None, seq: int = 2**63 - 1
) -> Snapshot | None:
    """Return the newest snapshot that the tables have of the op `seq` or an earlier one."""
    row = database.execute(
        "SELECT seq, state, digest FROM snapshots WHERE gathering = ? AND seq <= ?"
        " ORDER BY seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return None if row is None else Snapshot(*row)


def find_epoch(database: sqlite3.Connection, key: int | None, seq: int) -> str:
    """Return the epoch of an op that the tables have; "" if it has none, and for the seq 0."""
    row = database.execute(
        "SELECT epoch FROM epochs WHERE gathering = ? AND first_seq <= ?"
        " ORDER BY first_seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return "" if row is None else str(row[0])


# The statements. Their texts are cached: SQLite's module finds a prepared statement by its text.


def _padded(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows that may be repeated into parts of few sizes."""
    largest = _AT_ONCE[0]
    for start in range(0, len(rows), largest):
        part = rows[start : start + largest]
        size = min(size for size in _AT_ONCE if size >= len(part))
        yield [*part, *([part[-1]] * (size - len(part)))]


@cache
def _insert(into: str, rows: int, place: str | None, on_conflict: str) -> str:
    return f"INSERT INTO {into} VALUES {','.join([str(place)] * rows)} {on_conflict}"


@cache
def _select_gatherings(rows: int) -> str:
    return (
        f"SELECT id, key, head FROM (VALUES {_places(rows, 1)}) AS wanted"
        " CROSS JOIN gatherings ON id = wanted.column1"
    )


@cache
def _select_tombstones(rows: int) -> str:
    return (
        f"SELECT 1 FROM (VALUES {_places(rows, 1)}) AS wanted"
        " CROSS JOIN tombstones ON id = wanted.column1 LIMIT 1"
    )


@cache
def _select_epochs(rows: int) -> str:
    return (
        "SELECT column1, (SELECT epoch FROM epochs WHERE gathering = column1"
        f" ORDER BY first_seq DESC LIMIT 1) FROM (VALUES {_places(rows, 1)})"
    )


@cache
def _select_syncs(rows: int) -> str:
    return (
        f"SELECT 1 FROM (VALUES {_places(rows, 3)}) AS wanted CROSS JOIN syncs"
        " ON gathering = wanted.column1 AND scope = wanted.column2 AND id = wanted.column3 LIMIT 1"
    )


@cache
def _insert_entry(absent: int) -> str:
    unless = f" AND NOT EXISTS ({_select_syncs(absent)})" if absent else ""
    return (
        "INSERT INTO journal (entry) SELECT ?"
        f" WHERE (SELECT data_version FROM pragma_data_version) = ?{unless}"
    )


def _places(rows: int, width: int) -> str:
    place = f"({','.join('?' * width)})"
    return ",".join([place] * rows)
