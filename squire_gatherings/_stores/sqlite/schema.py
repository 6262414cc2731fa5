"""The SQLite schema: its versions, and the statements that make the next one of each."""

import sqlite3

from squire_gatherings._values.errors import StoreUnusable

APPLICATION_ID = 0x53515247  # "SQRG"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE gatherings (
            key INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            head INTEGER NOT NULL
        ) STRICT""",
        """CREATE TABLE ops (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            seq INTEGER NOT NULL,
            by TEXT,
            op BLOB NOT NULL,
            PRIMARY KEY (gathering, seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE syncs (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            scope TEXT NOT NULL,
            id TEXT NOT NULL,
            first_seq INTEGER NOT NULL,
            count INTEGER NOT NULL,
            fingerprint INTEGER NOT NULL,
            PRIMARY KEY (gathering, scope, id)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE snapshots (
            gathering INTEGER PRIMARY KEY REFERENCES gatherings (key),
            seq INTEGER NOT NULL,
            state BLOB NOT NULL
        ) STRICT""",
    ),
    # 2: a restore reads the newest syncs of a gathering without sorting all of them.
    ("CREATE INDEX newest_syncs ON syncs (gathering, first_seq)",),
    # 3: appends that aren't in the other tables yet, and those that didn't fit there. No
    # number is used again: what was folded can't be taken for what is new.
    (
        """CREATE TABLE journal (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            entry BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE refused (
            number INTEGER PRIMARY KEY,
            entry BLOB NOT NULL,
            reason TEXT NOT NULL
        ) STRICT""",
    ),
    # 4: the epoch of each op, in a row where it changes (see `tables`; older ops have none);
    # fingerprints are bytes, of which those that were checksums have four.
    (
        """CREATE TABLE epochs (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            first_seq INTEGER NOT NULL,
            epoch TEXT NOT NULL,
            PRIMARY KEY (gathering, first_seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE newer_syncs (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            scope TEXT NOT NULL,
            id TEXT NOT NULL,
            first_seq INTEGER NOT NULL,
            count INTEGER NOT NULL,
            fingerprint BLOB NOT NULL,
            PRIMARY KEY (gathering, scope, id)
        ) STRICT, WITHOUT ROWID""",
        """INSERT INTO newer_syncs
            SELECT gathering, scope, id, first_seq, count, checksum_bytes(fingerprint)
            FROM syncs""",
        "DROP TABLE syncs",
        "ALTER TABLE newer_syncs RENAME TO syncs",
        "CREATE INDEX newest_syncs ON syncs (gathering, first_seq)",
    ),
    # 5: the time of each op (0 for older ones), and the head of the chain after the last op of
    # each append; `migration` chains older ones. A gathering's log may begin later than at 1, and
    # then has the head before that. There may be several snapshots of one, and each has a digest.
    # What was deleted leaves a tombstone.
    (
        "ALTER TABLE ops ADD COLUMN time INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE ops ADD COLUMN head BLOB",
        "ALTER TABLE gatherings ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE gatherings ADD COLUMN before BLOB NOT NULL DEFAULT x''",
        """CREATE TABLE newer_snapshots (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            seq INTEGER NOT NULL,
            state BLOB NOT NULL,
            digest BLOB NOT NULL,
            PRIMARY KEY (gathering, seq)
        ) STRICT""",
        """INSERT INTO newer_snapshots
            SELECT gathering, seq, state, x'' FROM snapshots ORDER BY gathering""",
        "DROP TABLE snapshots",
        "ALTER TABLE newer_snapshots RENAME TO snapshots",
        """CREATE TABLE tombstones (
            id TEXT PRIMARY KEY,
            seq INTEGER NOT NULL,
            head BLOB NOT NULL,
            time INTEGER NOT NULL,
            digest BLOB NOT NULL
        ) STRICT, WITHOUT ROWID""",
        # Which id the chain has for ops, where that isn't the gathering's own: they were copied.
        """CREATE TABLE names (
            gathering INTEGER NOT NULL REFERENCES gatherings (key),
            first_seq INTEGER NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (gathering, first_seq)
        ) STRICT, WITHOUT ROWID""",
        # How often whole logs were deleted, cut short or taken in: a server looks at it.
        "CREATE TABLE changes (number INTEGER NOT NULL) STRICT",
        "INSERT INTO changes VALUES (0)",
    ),
    # 6: lifecycle events that weren't delivered yet, as JSON, and for each incarnation that hasn't
    # dispersed the one with which it opened. No number is used again. Of a log that begins later
    # than at 1, the time of the last op that was left out, with its proof (`sealed_time`).
    (
        "ALTER TABLE gatherings ADD COLUMN time_before BLOB",
        """CREATE TABLE events (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            event BLOB NOT NULL,
            digest BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE incarnations (
            id TEXT PRIMARY KEY,
            event BLOB NOT NULL,
            digest BLOB NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    # 7: the incarnations that sleep, as MessagePack, with their deadlines by the wall clock.
    (
        """CREATE TABLE sleepers (
            incarnation TEXT PRIMARY KEY,
            gathering TEXT NOT NULL,
            state BLOB NOT NULL,
            digest BLOB NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
)
"""The statements that lead from each version (0: an empty file) to the next."""

VERSION = len(MIGRATIONS)

OF_A_GATHERING = ("ops", "epochs", "names", "syncs", "snapshots")
"""The tables whose rows belong to a gathering, by its key in the column `gathering`."""


def checksum_bytes(checksum: int) -> bytes:
    """Return what a fingerprint of schema 3, a checksum of 32 bits, has become."""
    return (checksum & 0xFFFFFFFF).to_bytes(4, "big")


def schema_version(database: sqlite3.Connection) -> int:
    """Return the version of a store's database, 0 for an empty one; changes nothing.

    Raises:
        StoreUnusable: It is another program's database, or one of a version that isn't known.
    """
    # All at one moment: a file that another process is migrating isn't taken for a foreign one.
    alone = not database.in_transaction
    if alone:
        database.execute("BEGIN")
    try:
        [application_id] = database.execute("PRAGMA application_id").fetchone()
        [version] = database.execute("PRAGMA user_version").fetchone()
        [tables] = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        if alone and database.in_transaction:
            database.execute("ROLLBACK")
    if application_id != APPLICATION_ID and (application_id, version, tables) != (0, 0, 0):
        raise StoreUnusable("the file is another program's SQLite database")
    if not 0 <= version <= VERSION:
        raise StoreUnusable(
            f"the file has schema version {version}, this program knows up to {VERSION}"
        )
    return int(version)
