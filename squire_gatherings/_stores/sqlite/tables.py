"""The tables: how their rows are found and inserted, many with one statement.

Each statement releases the interpreter's lock and waits for it again: a thousand rows in a
thousand statements would wait a thousand times while the server is busy.

Consecutive ops mostly have the same epoch, so a table (and an entry of the journal) has an epoch
only where it changes: these are the *runs*.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, repeat
from typing import Any

from squire_gatherings._values.log import LoggedOp, SyncRecord
from squire_gatherings._values.op import Op

_AT_ONCE = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows go into one statement: a few sizes, so that statements stay prepared."""

Row = tuple[Any, ...]
Run = tuple[int, str]
"""The seq from which ops have another epoch than before, and that epoch."""
TableKey = tuple[int, str, str]
"""A gathering's key, and the scope and the id of one of its syncs."""


# Many rows at once.


def insert_rows(
    database: sqlite3.Connection, into: str, rows: Sequence[Row], *, on_conflict: str = ""
) -> None:
    """Insert `rows`, all of the same width.

    Args:
        database: Where to; a transaction is the caller's.
        into: The table, with its columns.
        rows: The values.
        on_conflict: The SQL clause for rows that are there already.
    """
    done = 0
    for size in _AT_ONCE:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            database.execute(
                _insert(into, len(part), len(part[0]), on_conflict),
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


# Of one gathering.


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


def find_ops(
    database: sqlite3.Connection, key: int | None, first: int, last: int
) -> Iterator[LoggedOp]:
    """Return the ops that the tables have from seq `first` to `last`."""
    rows = database.execute(
        "SELECT by, op FROM ops WHERE gathering = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (key, first, last),
    )
    begin = database.execute(
        "SELECT first_seq, epoch FROM epochs WHERE gathering = ?1 AND first_seq <= ?3"
        " AND first_seq >= coalesce((SELECT max(first_seq) FROM epochs"
        " WHERE gathering = ?1 AND first_seq <= ?2), 0) ORDER BY first_seq",
        (key, first, last),
    )
    for (by, op), epoch in zip(rows, epochs(begin, first), strict=False):
        yield LoggedOp(Op(op), by, epoch)


def find_epoch(database: sqlite3.Connection, key: int | None, seq: int) -> str:
    """Return the epoch of an op that the tables have; "" if it has none, and for the seq 0."""
    row = database.execute(
        "SELECT epoch FROM epochs WHERE gathering = ? AND first_seq <= ?"
        " ORDER BY first_seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return "" if row is None else str(row[0])


# Runs of epochs.


def runs(ops: Iterable[LoggedOp], first_seq: int, *, before: str = "") -> list[Run]:
    """Return the runs of ops with the seqs from `first_seq` on, after an op of the epoch `before`.

    A run that goes on with `before` isn't one of them.
    """
    found: list[Run] = []
    epoch = before
    for seq, logged in enumerate(ops, start=first_seq):
        if logged.epoch != epoch:
            epoch = logged.epoch
            found.append((seq, epoch))
    return found


def epochs(of: Iterable[Run], seq: int) -> Iterator[str]:
    """Return the epoch of the op `seq`, of the next one, and so on without an end.

    The runs may begin before `seq` or after it: an op before them all has no epoch, "".
    """
    epoch = ""
    for first_seq, next_epoch in of:
        if first_seq > seq:
            yield from repeat(epoch, first_seq - seq)
            seq = first_seq
        epoch = next_epoch
    yield from repeat(epoch)


# The statements. Their texts are cached: SQLite's module finds a prepared statement by its text.


def _padded(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows that may be repeated into parts of few sizes."""
    largest = _AT_ONCE[0]
    for start in range(0, len(rows), largest):
        part = rows[start : start + largest]
        size = min(size for size in _AT_ONCE if size >= len(part))
        yield [*part, *([part[-1]] * (size - len(part)))]


@cache
def _insert(into: str, rows: int, width: int, on_conflict: str) -> str:
    return f"INSERT INTO {into} VALUES {_places(rows, width)} {on_conflict}"


@cache
def _select_gatherings(rows: int) -> str:
    return (
        f"SELECT id, key, head FROM (VALUES {_places(rows, 1)}) AS wanted"
        " CROSS JOIN gatherings ON id = wanted.column1"
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
