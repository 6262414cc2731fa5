"""The SQLite schema: its versions, and how a file of an older one becomes the newest."""

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
)
"""The statements that lead from each version (0: an empty file) to the next."""

VERSION = len(MIGRATIONS)


def checksum_bytes(checksum: int) -> bytes:
    """Return what a fingerprint of schema 3, a checksum of 32 bits, has become."""
    return (checksum & 0xFFFFFFFF).to_bytes(4, "big")


def schema_version(database: sqlite3.Connection) -> int:
    """Return the version of a store's database, 0 for an empty one; changes nothing.

    Raises:
        StoreUnusable: It is another program's database, or one of a later version.
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
    if version > VERSION:
        raise StoreUnusable(
            f"the file has schema version {version}, this program knows up to {VERSION}"
        )
    return int(version)


def migrate(database: sqlite3.Connection) -> None:
    """Bring a database to the newest version, each step in a transaction.

    Raises what `schema_version` raises. Several may migrate one file at the same time.
    """
    while schema_version(database) < VERSION:
        database.create_function("checksum_bytes", 1, checksum_bytes, deterministic=True)
        database.execute("BEGIN IMMEDIATE")
        try:
            # Again, as only now nobody else can be migrating it.
            version = schema_version(database)
            for statement in MIGRATIONS[version] if version < VERSION else ():
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {min(version + 1, VERSION)}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
