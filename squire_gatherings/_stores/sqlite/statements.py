"""The tables: appends written one by one, each with an outcome of its own, and rows found."""

import sqlite3
from collections.abc import Iterator, Sequence

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.sqlite.epoch_runs import epochs, runs
from squire_gatherings._stores.texts import unstorable
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.log import Append, LoggedOp, SyncRecord
from squire_gatherings._values.op import Op

_DOUBLE = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
"""Errors of rows that are there already: others say that a value can't be stored at all."""


def append_each(database: sqlite3.Connection, appends: Sequence[Append]) -> list[Outcome]:
    """Write these into the tables, within a transaction; return what each of them came to."""
    return [_append_one(database, append) for append in appends]


def _append_one(database: sqlite3.Connection, append: Append) -> Outcome:
    """Write one append, or nothing of it: what is wrong with it leaves the others alone."""
    database.execute("SAVEPOINT one")
    outcome: Outcome = None
    try:
        key = _check(database, append)
        if key is not None:
            _write(database, key, append)
    except StoreConflict as error:
        # Another one: a variable that keeps what was raised here makes a reference cycle.
        outcome = StoreConflict(str(error))
    except sqlite3.IntegrityError as error:
        is_double = error.sqlite_errorcode in _DOUBLE
        outcome = StoreConflict(str(error)) if is_double else unstorable(append, error)
    except (
        OverflowError,
        TypeError,
        ValueError,
        sqlite3.DataError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
    ) as error:
        # Values that SQLite can't hold, now or ever: to try again would block everybody.
        outcome = unstorable(append, error)
    if outcome is not None:
        database.execute("ROLLBACK TO one")
    database.execute("RELEASE one")
    return outcome


def _check(database: sqlite3.Connection, append: Append) -> int | None:
    """Return the gathering's key, or None if the append is there already."""
    row = database.execute(
        "SELECT key, head FROM gatherings WHERE id = ?", (append.gathering,)
    ).fetchone()
    if row is None:
        if append.first_seq != 1:
            raise StoreConflict(f"{append.gathering} is empty, not before {append.first_seq}")
        inserted = database.execute(
            "INSERT INTO gatherings (id, head) VALUES (?, 0)", (append.gathering,)
        )
        assert inserted.lastrowid is not None
        return inserted.lastrowid
    key: int
    head: int
    key, head = row
    if head == append.first_seq - 1:
        return key
    last = append.first_seq + len(append.ops) - 1
    there = tuple(stored_ops(database, key, append.first_seq, last))
    if append.ops and there == append.ops and _has_syncs(database, key, append):
        return None
    raise StoreConflict(f"{append.gathering} ends at {head}, not before {append.first_seq}")


def _has_syncs(database: sqlite3.Connection, key: int, append: Append) -> bool:
    """Whether the ops came from the same syncs: equal ops of another writer don't."""
    return all(find_sync(database, key, s.scope, s.id) == s for s in append.syncs)


def _write(database: sqlite3.Connection, key: int, append: Append) -> None:
    database.executemany(
        "INSERT INTO ops (gathering, seq, by, op) VALUES (?, ?, ?, ?)",
        [
            (key, seq, logged.by, logged.op.json)
            for seq, logged in enumerate(append.ops, start=append.first_seq)
        ],
    )
    database.executemany(
        "INSERT INTO epochs (gathering, first_seq, epoch) VALUES (?, ?, ?)",
        [
            (key, seq, epoch)
            for seq, epoch in runs(
                append.ops, append.first_seq, before=epoch_at(database, key, append.first_seq - 1)
            )
        ],
    )
    database.executemany(
        "INSERT INTO syncs (gathering, scope, id, first_seq, count, fingerprint)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(key, s.scope, s.id, s.first_seq, s.count, s.fingerprint) for s in append.syncs],
    )
    head = append.first_seq + len(append.ops) - 1
    database.execute("UPDATE gatherings SET head = ? WHERE key = ?", (head, key))
    if append.snapshot is not None:
        database.execute(
            "INSERT INTO snapshots (gathering, seq, state) VALUES (?, ?, ?)"
            " ON CONFLICT (gathering) DO UPDATE SET seq = excluded.seq, state = excluded.state",
            (key, append.snapshot.seq, append.snapshot.state),
        )


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


def stored_ops(
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


def epoch_at(database: sqlite3.Connection, key: int | None, seq: int) -> str:
    """Return the epoch of an op that the tables have; "" if it has none, and for the seq 0."""
    row = database.execute(
        "SELECT epoch FROM epochs WHERE gathering = ? AND first_seq <= ?"
        " ORDER BY first_seq DESC LIMIT 1",
        (key, seq),
    ).fetchone()
    return "" if row is None else str(row[0])
