"""The fold: appends go from the journal into the tables, those of many commits at once.

All of it happens in the transaction that the caller has begun: a crash before its end leaves the
journal as it was, to be folded again. Where something doesn't fit, appends are written one by
one, so that each has an outcome of its own.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import follows
from squire_gatherings._rules.thinning import NEWEST, superfluous
from squire_gatherings._stores.common import unstorable
from squire_gatherings._stores.sqlite.journal import can_be_written, decode_entry, encode_entry
from squire_gatherings._stores.sqlite.tables import (
    BOUND_OP,
    OP_COLUMNS,
    SYNC_COLUMNS,
    Row,
    bound_ops,
    find_beginning,
    find_epoch,
    find_epochs,
    find_gatherings,
    find_ops,
    find_sync,
    find_tombstone,
    head_in_tables,
    insert_rows,
    op_rows,
    ops_size,
    sync_rows,
)
from squire_gatherings._values.errors import LogDeleted, StoreConflict
from squire_gatherings._values.log import Append, runs

_log = logging.getLogger(__name__)

Heads = dict[str, tuple[int | None, int]]
"""For each gathering its key (None: it isn't in the tables yet) and its last seq."""

SNAPSHOT_COLUMNS = "snapshots (gathering, seq, state, digest)"
REPLACE_SNAPSHOT = (
    "ON CONFLICT (gathering, seq) DO UPDATE SET state = excluded.state, digest = excluded.digest"
)

_DOUBLE = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
"""Errors of rows that are there already: others say that a value can't be stored at all."""


def fold(database: sqlite3.Connection, appends: Mapping[str, Sequence[Append]]) -> Heads:
    """Write what the journal has of these gatherings into the tables.

    The caller deletes it from the journal.

    Returns:
        Their heads in the tables; nothing if something doesn't fit: then all that is in the
        journal has been folded by `fold_file`, and deleted.
    """
    database.execute("SAVEPOINT folding")
    try:
        heads = _fold_all(database, appends)
    except (_Unfitting, sqlite3.IntegrityError):
        database.execute("ROLLBACK TO folding")
        fold_file(database)
        heads = {}
    database.execute("RELEASE folding")
    return heads


def fold_file(database: sqlite3.Connection) -> None:
    """Fold all that the file's journal holds, append by append, also what others wrote.

    What doesn't fit on the tables (only another writer or a defect can do that) is logged as
    an error and kept in the table `refused`: it neither blocks the store nor vanishes.
    """
    rows = database.execute("SELECT number, entry FROM journal ORDER BY number").fetchall()
    for number, entry in rows:
        try:
            appends = decode_entry(entry)
        except ValueError as error:
            _refuse(database, entry, f"entry {number} of the journal can't be read: {error}")
            continue
        for append, outcome in zip(appends, append_each(database, appends), strict=True):
            if outcome is not None:
                _refuse(database, encode_entry([append]), f"{append.gathering}: {outcome}")
    database.execute("DELETE FROM journal")


def append_each(database: sqlite3.Connection, appends: Sequence[Append]) -> list[Outcome]:
    """Write these into the tables one by one; return what each of them came to."""
    return [_append_one(database, append) for append in appends]


# All at once.


class _Unfitting(Exception):
    """The journal doesn't go on where the tables end."""


def _fold_all(database: sqlite3.Connection, appends: Mapping[str, Sequence[Append]]) -> Heads:
    before = find_gatherings(database, tuple(appends))
    heads: dict[str, int] = {}
    for gathering, some in appends.items():
        head = before.get(gathering, (0, 0))[1]
        for append in some:
            if append.first_seq != head + 1:
                raise _Unfitting
            head += len(append.ops)
        heads[gathering] = head
    insert_rows(
        database,
        "gatherings (id, head)",
        list(heads.items()),
        on_conflict="ON CONFLICT (id) DO UPDATE SET head = excluded.head",
    )
    keys = {gathering: key for gathering, (key, _) in before.items()}
    new = find_gatherings(database, [one for one in appends if one not in keys])
    keys.update((gathering, key) for gathering, (key, _) in new.items())
    # The order is that of the tables: so each page is written once.
    ordered = sorted((keys[gathering], some) for gathering, some in appends.items())
    insert_rows(
        database,
        f"ops ({OP_COLUMNS})",
        [row for key, some in ordered for row in bound_ops(key, some)],
        place=BOUND_OP,
    )
    epochs = find_epochs(database, [key for key, _ in before.values()])
    begin: list[tuple[int, int, str]] = []
    for key, some in ordered:
        epoch = epochs.get(key, "")
        for append in some:
            if {one.epoch for one in append.ops} != {epoch}:
                # Seldom.
                begin += _epoch_rows(key, append, epoch)
                epoch = append.ops[-1].epoch if append.ops else epoch
    insert_rows(database, "epochs (gathering, first_seq, epoch)", begin)
    syncs: list[Row] = []
    for key, some in ordered:
        syncs += sorted(sync_rows(key, [one for append in some for one in append.syncs]))
    insert_rows(database, f"syncs ({SYNC_COLUMNS})", syncs)
    snapshots = [
        (key, append.snapshot)
        for key, some in ordered
        for append in some
        if append.snapshot is not None
    ]
    insert_rows(
        database,
        SNAPSHOT_COLUMNS,
        [(key, one.seq, one.state, one.digest) for key, one in snapshots],
        on_conflict=REPLACE_SNAPSHOT,
    )
    for key, snapshot in snapshots:
        thin_out(database, key, snapshot.seq)
    return {gathering: (keys[gathering], head) for gathering, head in heads.items()}


def _refuse(database: sqlite3.Connection, entry: bytes, reason: str) -> None:
    _log.error(
        "an append can't be applied, and is kept in the table refused", extra={"why": reason}
    )
    database.execute("INSERT INTO refused (entry, reason) VALUES (?, ?)", (entry, reason))


# One by one.


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
        outcome = type(error)(str(error))
    except sqlite3.IntegrityError as error:
        is_double = error.sqlite_errorcode in _DOUBLE
        outcome = (
            StoreConflict(str(error)) if is_double else unstorable(append, error, can_be_written)
        )
    except (
        OverflowError,
        TypeError,
        ValueError,
        sqlite3.DataError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
    ) as error:
        # Values that SQLite can't hold, now or ever: to try again would block everybody.
        outcome = unstorable(append, error, can_be_written)
    if outcome is not None:
        database.execute("ROLLBACK TO one")
    database.execute("RELEASE one")
    return outcome


def _check(database: sqlite3.Connection, append: Append) -> int | None:
    """Return the gathering's key, or None if the append is there already."""
    row = database.execute(
        "SELECT key, head FROM gatherings WHERE id = ?", (append.gathering,)
    ).fetchone()
    tombstone = find_tombstone(database, append.gathering)
    # Seqs can't tell: those of the next log may be the same.
    conflict = StoreConflict if tombstone is None else LogDeleted
    if row is None:
        before = b"" if tombstone is None else tombstone.head
        if append.first_seq != 1:
            raise conflict(f"{append.gathering} is empty, not before {append.first_seq}")
        if tombstone is not None:
            _check_head(append, before)
        inserted = database.execute(
            "INSERT INTO gatherings (id, head, before) VALUES (?, 0, ?)", (append.gathering, before)
        )
        assert inserted.lastrowid is not None
        return inserted.lastrowid
    key: int
    head: int
    key, head = row
    if head == append.first_seq - 1:
        if tombstone is not None:
            _check_head(append, head_in_tables(database, key, head))
        return key
    there = tuple(find_ops(database, key, append.first_seq, append.last_seq))
    if append.ops and there == append.ops and _has_syncs(database, key, append):
        return None
    raise conflict(f"{append.gathering} ends at {head}, not before {append.first_seq}")


def _check_head(append: Append, before: bytes) -> None:
    """Raise `LogDeleted` if an append goes on with a log that isn't there any more."""
    if not follows(before, append):
        raise LogDeleted(f"{append.gathering} was deleted")


def _has_syncs(database: sqlite3.Connection, key: int, append: Append) -> bool:
    """Return whether the ops came from the same syncs: equal ops of another writer don't."""
    return all(find_sync(database, key, s.scope, s.id) == s for s in append.syncs)


def _write(database: sqlite3.Connection, key: int, append: Append) -> None:
    database.executemany(
        f"INSERT INTO ops ({OP_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", op_rows(key, append)
    )
    before = find_epoch(database, key, append.first_seq - 1)
    database.executemany(
        "INSERT INTO epochs (gathering, first_seq, epoch) VALUES (?, ?, ?)",
        _epoch_rows(key, append, before),
    )
    database.executemany(
        f"INSERT INTO syncs ({SYNC_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        sync_rows(key, append.syncs),
    )
    database.execute("UPDATE gatherings SET head = ? WHERE key = ?", (append.last_seq, key))
    if append.snapshot is not None:
        database.execute(
            f"INSERT INTO {SNAPSHOT_COLUMNS} VALUES (?, ?, ?, ?) {REPLACE_SNAPSHOT}",
            (key, append.snapshot.seq, append.snapshot.state, append.snapshot.digest),
        )
        thin_out(database, key, append.snapshot.seq)


def _epoch_rows(key: int, append: Append, before: str) -> list[tuple[int, int, str]]:
    epochs = [one.epoch for one in append.ops]
    return [(key, *run) for run in runs(epochs, append.first_seq, before=before)]


def thin_out(database: sqlite3.Connection, key: int, seq: int) -> None:
    """Drop a snapshot, if one needn't be kept now that there is one of the op `seq`."""
    newest = database.execute(
        "SELECT seq FROM snapshots WHERE gathering = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        (key, seq, NEWEST + 2),
    ).fetchall()
    if len(newest) <= NEWEST:
        return
    first_seq = find_beginning(database, key)[0]
    dropped = superfluous([one for [one] in newest], first_seq, partial(ops_size, database, key))
    if dropped is not None:
        database.execute("DELETE FROM snapshots WHERE gathering = ? AND seq = ?", (key, dropped))
