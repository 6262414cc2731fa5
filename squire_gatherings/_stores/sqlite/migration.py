"""The migration: how a file of an older schema becomes one of the newest."""

import sqlite3

from squire_gatherings._rules.chain import next_head, state_digest
from squire_gatherings._stores.sqlite.fold import fold_file
from squire_gatherings._stores.sqlite.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    VERSION,
    checksum_bytes,
    schema_version,
)
from squire_gatherings._stores.sqlite.tables import find_ops, find_syncs_from
from squire_gatherings._stores.sqlite.transactions import writing

CHAINED = 5
"""The first version that has the chain."""
AT_ONCE = 256
"""How many older ops are chained together, as if they had been one append."""


def migrate(database: sqlite3.Connection) -> None:
    """Bring a database to the newest version, each step in a transaction.

    Raises what `schema_version` raises. Several may migrate one file at the same time.
    """
    while schema_version(database) < VERSION:
        database.create_function("checksum_bytes", 1, checksum_bytes, deterministic=True)
        with writing(database):
            # Again, as only now nobody else can be migrating it.
            version = schema_version(database)
            for statement in MIGRATIONS[version] if version < VERSION else ():
                database.execute(statement)
            if version == CHAINED - 1:
                # What the journal has comes into the tables: the chain has no gap in it.
                fold_file(database)
                chain_all(database)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {min(version + 1, VERSION)}")


def chain_all(database: sqlite3.Connection) -> None:
    """Chain the ops of all gatherings from before there was a chain, in pieces."""
    for key, gathering, last in database.execute("SELECT key, id, head FROM gatherings").fetchall():
        snapshots = database.execute(
            "SELECT seq FROM snapshots WHERE gathering = ? ORDER BY seq", (key,)
        ).fetchall()
        # A snapshot's digest needs the head after its seq.
        ends = sorted({*range(AT_ONCE, last, AT_ONCE), *(seq for [seq] in snapshots), last})
        head, first = b"", 1
        for end in ends:
            if not first <= end <= last:
                continue
            ops = tuple(find_ops(database, key, first, end))
            syncs = find_syncs_from(database, key, first, end)
            head = next_head(head, gathering, first, ops, syncs)
            database.execute(
                "UPDATE ops SET head = ? WHERE gathering = ? AND seq = ?", (head, key, end)
            )
            _bind_snapshot(database, key, end, head)
            first = end + 1


def _bind_snapshot(database: sqlite3.Connection, key: int, seq: int, head: bytes) -> None:
    row = database.execute(
        "SELECT state FROM snapshots WHERE gathering = ? AND seq = ?", (key, seq)
    ).fetchone()
    if row is not None:
        database.execute(
            "UPDATE snapshots SET digest = ? WHERE gathering = ? AND seq = ?",
            (state_digest(head, row[0]), key, seq),
        )
