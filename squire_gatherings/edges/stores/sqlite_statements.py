"""What the SQLite store reads and writes, as functions of an open database."""

import sqlite3
from collections.abc import Iterator, Sequence

from squire_gatherings.edges.stores.group_commit import Outcome
from squire_gatherings.values.errors import StoreConflict
from squire_gatherings.values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord
from squire_gatherings.values.op import Op


def append_all(database: sqlite3.Connection, appends: Sequence[Append]) -> list[Outcome]:
    """Commit all these in one transaction; return what each of them came to."""
    outcomes: list[Outcome] = []
    database.execute("BEGIN IMMEDIATE")
    try:
        for append in appends:
            outcomes.append(_append_one(database, append))
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    return outcomes


def _append_one(database: sqlite3.Connection, append: Append) -> Outcome:
    """Write one append, or nothing of it: what is wrong with it leaves the others alone."""
    database.execute("SAVEPOINT one")
    outcome: Outcome = None
    try:
        key = _check(database, append)
        if key is not None:
            _write(database, key, append)
    except (StoreConflict, sqlite3.IntegrityError) as error:
        database.execute("ROLLBACK TO one")
        outcome = StoreConflict(str(error))
    except (OverflowError, ValueError, sqlite3.DataError, sqlite3.ProgrammingError) as error:
        # Values that SQLite can't hold, now or ever: to try again would block everybody.
        database.execute("ROLLBACK TO one")
        outcome = ValueError(f"{append.gathering}: can't be stored: {error}")
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
    there = database.execute(
        "SELECT by, op FROM ops WHERE gathering = ? AND seq BETWEEN ? AND ? ORDER BY seq",
        (key, append.first_seq, last),
    ).fetchall()
    same_ops = there == [(logged.by, logged.op.json) for logged in append.ops]
    if append.ops and same_ops and _has_syncs(database, key, append):
        return None
    raise StoreConflict(f"{append.gathering} ends at {head}, not before {append.first_seq}")


def _has_syncs(database: sqlite3.Connection, key: int, append: Append) -> bool:
    """Whether the ops came from the same syncs: equal ops of another writer don't."""
    return all(_find_sync(database, key, s.scope, s.id) == s for s in append.syncs)


def _write(database: sqlite3.Connection, key: int, append: Append) -> None:
    database.executemany(
        "INSERT INTO ops (gathering, seq, by, op) VALUES (?, ?, ?, ?)",
        [
            (key, seq, logged.by, logged.op.json)
            for seq, logged in enumerate(append.ops, start=append.first_seq)
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


def load(database: sqlite3.Connection, gathering: str, recent_syncs: int) -> Restored:
    """Read what a new incarnation starts from, all at one moment."""
    database.execute("BEGIN")
    try:
        row = database.execute(
            "SELECT key, head FROM gatherings WHERE id = ?", (gathering,)
        ).fetchone()
        if row is None:
            return Restored()
        key, head = row
        found = database.execute(
            "SELECT seq, state FROM snapshots WHERE gathering = ?", (key,)
        ).fetchone()
        snapshot = None if found is None else Snapshot(found[0], found[1])
        after = 0 if snapshot is None else snapshot.seq
        ops = tuple(_ops(database, key, after, head))
        newest = database.execute(
            "SELECT scope, id, first_seq, count, fingerprint FROM syncs"
            " WHERE gathering = ? ORDER BY first_seq DESC LIMIT ?",
            (key, recent_syncs + 1),
        ).fetchall()
        recent = tuple(SyncRecord(*one) for one in reversed(newest[:recent_syncs]))
        return Restored(head, snapshot, ops, recent, len(newest) > recent_syncs)
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def read(
    database: sqlite3.Connection, gathering: str, after: int, up_to: int, max_bytes: int
) -> tuple[LoggedOp, ...]:
    """Read consecutive ops, at least one if there is any, up to `max_bytes`."""
    row = database.execute("SELECT key FROM gatherings WHERE id = ?", (gathering,)).fetchone()
    found: list[LoggedOp] = []
    size = 0
    for logged in _ops(database, row[0], after, up_to) if row else ():
        size += len(logged.op.json)
        if found and size > max_bytes:
            break
        found.append(logged)
    return tuple(found)


def find_syncs(
    database: sqlite3.Connection, gathering: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], SyncRecord]:
    """Find which of these (scope, id) were applied."""
    row = database.execute("SELECT key FROM gatherings WHERE id = ?", (gathering,)).fetchone()
    found: dict[tuple[str, str], SyncRecord] = {}
    for scope, sync_id in keys if row else ():
        record = _find_sync(database, row[0], scope, sync_id)
        if record is not None:
            found[scope, sync_id] = record
    return found


def sync_ids(
    database: sqlite3.Connection, gathering: str, scope: str, limit: int
) -> tuple[str, ...]:
    """Return ids of the syncs of one scope, at most `limit` of them."""
    rows = database.execute(
        "SELECT syncs.id FROM syncs JOIN gatherings ON gatherings.key = syncs.gathering"
        " WHERE gatherings.id = ? AND syncs.scope = ? LIMIT ?",
        (gathering, scope, limit),
    )
    return tuple(one for [one] in rows)


def _find_sync(
    database: sqlite3.Connection, key: int, scope: str, sync_id: str
) -> SyncRecord | None:
    row = database.execute(
        "SELECT scope, id, first_seq, count, fingerprint FROM syncs"
        " WHERE gathering = ? AND scope = ? AND id = ?",
        (key, scope, sync_id),
    ).fetchone()
    return None if row is None else SyncRecord(*row)


def _ops(database: sqlite3.Connection, key: int, after: int, up_to: int) -> Iterator[LoggedOp]:
    rows = database.execute(
        "SELECT by, op FROM ops WHERE gathering = ? AND seq > ? AND seq <= ? ORDER BY seq",
        (key, after, up_to),
    )
    for by, op in rows:
        yield LoggedOp(Op(op), by)
