"""The fold: what is in the journal goes into the tables, many commits at once.

All in the transaction that the caller has begun: a crash before its end leaves the journal as
it was, to be folded again.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence

from squire_gatherings._stores.sqlite.epoch_runs import runs
from squire_gatherings._stores.sqlite.journal import decode_entry, encode_entry
from squire_gatherings._stores.sqlite.statements import append_each
from squire_gatherings._stores.sqlite.tables import find_epochs, find_gatherings, insert_rows
from squire_gatherings._values.log import Append

_log = logging.getLogger(__name__)

Heads = dict[str, tuple[int | None, int]]
"""Of each gathering its key (None: it isn't in the tables yet) and its last seq."""


def end(append: Append) -> int:
    """Return the seq of its last op."""
    return append.first_seq + len(append.ops) - 1


def fold(database: sqlite3.Connection, appends: Mapping[str, Sequence[Append]]) -> Heads:
    """Fold what the journal has of these gatherings; return their heads in the tables.

    To delete it from the journal is left to the caller, except where something doesn't fit: then
    all that is in the journal is folded, and nothing returned.
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
    """Fold what the file's journal holds, whoever wrote it, append by append.

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


class _Unfitting(Exception):
    """The journal doesn't go on where the tables end."""


def _fold_all(database: sqlite3.Connection, appends: Mapping[str, Sequence[Append]]) -> Heads:
    before = find_gatherings(database, tuple(appends))
    for gathering, some in appends.items():
        head = before.get(gathering, (0, 0))[1]
        for append in some:
            if append.first_seq != head + 1:
                raise _Unfitting
            head = end(append)
    insert_rows(
        database,
        "gatherings (id, head)",
        [(gathering, end(some[-1])) for gathering, some in appends.items()],
        on_conflict="ON CONFLICT (id) DO UPDATE SET head = excluded.head",
    )
    keys = {gathering: key for gathering, (key, _) in before.items()}
    new = find_gatherings(database, [one for one in appends if one not in keys])
    keys.update((gathering, key) for gathering, (key, _) in new.items())
    # In the order of the tables: each page is written once.
    ordered = sorted((keys[gathering], some) for gathering, some in appends.items())
    insert_rows(
        database,
        "ops (gathering, seq, by, op)",
        [
            (key, seq, logged.by, logged.op.json)
            for key, some in ordered
            for append in some
            for seq, logged in enumerate(append.ops, start=append.first_seq)
        ],
    )
    epochs = find_epochs(database, [key for key, _ in before.values()])
    begin: list[tuple[int, int, str]] = []
    for key, some in ordered:
        epoch = epochs.get(key, "")
        for append in some:
            begin += [(key, *run) for run in runs(append.ops, append.first_seq, before=epoch)]
            epoch = append.ops[-1].epoch if append.ops else epoch
    insert_rows(database, "epochs (gathering, first_seq, epoch)", begin)
    insert_rows(
        database,
        "syncs (gathering, scope, id, first_seq, count, fingerprint)",
        sorted(
            (key, s.scope, s.id, s.first_seq, s.count, s.fingerprint)
            for key, some in ordered
            for append in some
            for s in append.syncs
        ),
    )
    newest = {
        key: append.snapshot
        for key, some in ordered
        for append in some
        if append.snapshot is not None
    }
    insert_rows(
        database,
        "snapshots (gathering, seq, state)",
        [(key, snapshot.seq, snapshot.state) for key, snapshot in newest.items()],
        on_conflict="ON CONFLICT (gathering)"
        " DO UPDATE SET seq = excluded.seq, state = excluded.state",
    )
    return {gathering: (keys[gathering], end(some[-1])) for gathering, some in appends.items()}


def _refuse(database: sqlite3.Connection, entry: bytes, reason: str) -> None:
    _log.error("an append was durable but can't be applied, see the table refused: %s", reason)
    database.execute("INSERT INTO refused (entry, reason) VALUES (?, ?)", (entry, reason))
