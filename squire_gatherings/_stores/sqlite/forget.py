"""Forgetting: whole gatherings, their ops and all, are deleted from a file that nobody serves."""

import sqlite3
from contextlib import closing
from pathlib import Path

from squire_gatherings._stores.common import is_storable
from squire_gatherings._stores.sqlite.connection import TROUBLE
from squire_gatherings._stores.sqlite.fold import fold_file
from squire_gatherings._stores.sqlite.migration import migrate
from squire_gatherings._stores.sqlite.place import locked
from squire_gatherings._stores.sqlite.schema import schema_version
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

BUSY_TIMEOUT = 1.0
"""For how many seconds somebody else's lock is waited for."""


def matching(path: Path, pattern: str) -> list[str]:
    """Return the ids of the gatherings that match, in order, and delete nothing.

    Args:
        path: The store's file.
        pattern: As in a shell: `*`, `?`, `[a-z]`.

    Raises:
        StoreUnusable: The file isn't a store.
        StoreUnavailable: A server has it, or it can't be written.
    """
    return _work(path, pattern, delete=False)


def forget(path: Path, pattern: str) -> list[str]:
    """Delete the gatherings whose ids match, for good; return the ids.

    The file keeps its size, and uses the room for what comes.

    Args:
        path: The store's file.
        pattern: As in a shell: `*`, `?`, `[a-z]`.

    Raises:
        StoreUnusable: The file isn't a store.
        StoreUnavailable: A server has it, or it can't be written.
    """
    return _work(path, pattern, delete=True)


def _work(path: Path, pattern: str, *, delete: bool) -> list[str]:
    if not path.is_file():
        raise StoreUnusable(f"{path}: no such file")
    if not is_storable(pattern):
        return []
    real = path.resolve()
    with locked(real):
        try:
            uri = f"{real.as_uri()}?mode=rw"
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
            with closing(connection) as database:
                if not schema_version(database):
                    raise StoreUnusable("the file is empty")
                migrate(database)
                return _in_one_transaction(database, pattern, delete=delete)
        except StoreUnusable as error:
            raise StoreUnusable(f"{path}: {error}") from None
        except TROUBLE as error:
            raise StoreUnavailable(f"{path}: {error}") from None


def _in_one_transaction(database: sqlite3.Connection, pattern: str, *, delete: bool) -> list[str]:
    database.execute("BEGIN IMMEDIATE")
    # The last commits of a server that was killed are in the journal.
    fold_file(database)
    found = database.execute(
        "SELECT key, id FROM gatherings WHERE id GLOB ? ORDER BY id", (pattern,)
    ).fetchall()
    if delete:
        for table in ("ops", "epochs", "syncs", "snapshots"):
            database.executemany(
                f"DELETE FROM {table} WHERE gathering = ?", [(key,) for key, _ in found]
            )
        database.executemany("DELETE FROM gatherings WHERE key = ?", [(key,) for key, _ in found])
    database.execute("COMMIT")
    return [one for _, one in found]
