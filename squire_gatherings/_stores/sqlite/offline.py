"""A store's file, opened by a command beside the server that may have it open.

The lock that a server holds isn't needed: each of these is one transaction of SQLite's, and the
server notices that somebody else has written. What the journal has is folded first.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from squire_gatherings._stores.giving_up import GivenUp, Stopped
from squire_gatherings._stores.sqlite.archive import at_one_moment
from squire_gatherings._stores.sqlite.connection import STEPS, TROUBLE, clear_wal, vacuum
from squire_gatherings._stores.sqlite.fold import fold_file
from squire_gatherings._stores.sqlite.locks import locked
from squire_gatherings._stores.sqlite.migration import migrate
from squire_gatherings._stores.sqlite.schema import VERSION, schema_version
from squire_gatherings._stores.sqlite.transactions import writing
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

T = TypeVar("T")

BUSY_TIMEOUT = 10.0
"""How many seconds we wait for somebody else's lock."""


def looked(path: Path, function: Callable[[sqlite3.Connection], T], stopped: Stopped) -> T:
    """Return what a function finds in the file, as it is at one moment.

    Raises:
        StoreUnusable: The file isn't a store.
        StoreUnavailable: It can't be read now.
        GivenUp: `stopped` said so.
    """
    with _opened(path, stopped) as database:
        if database.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is not None:
            with writing(database):
                fold_file(database)
        return at_one_moment(function, database)


def changed(path: Path, function: Callable[[sqlite3.Connection], T], stopped: Stopped) -> T:
    """Return what a function says that changes the file, in one transaction.

    Raises:
        StoreUnusable: The file isn't a store.
        StoreUnavailable: It can't be changed now.
        GivenUp: `stopped` said so.
        Exception: What the function raises; then nothing was changed.
    """
    with _opened(path, stopped) as database:
        database.execute("PRAGMA secure_delete = ON")
        with writing(database):
            fold_file(database)
            return function(database)


def erase(path: Path, stopped: Stopped) -> None:
    """Write the file anew, so that nothing is left of what was deleted, also in its log.

    Raises:
        StoreUnusable: The file isn't a store.
        StoreUnavailable: It can't be changed now, or somebody reads it all the time.
        GivenUp: `stopped` said so.
    """
    with _opened(path, stopped) as database:
        vacuum(database)
        clear_wal(database)


def _migrate(path: Path, database: sqlite3.Connection, version: int) -> None:
    """Bring the file to the newest schema, unless a server has it, which knows the older one only.

    Raises `StoreUnavailable`.
    """
    try:
        with locked(path.resolve()):
            migrate(database)
    except StoreUnavailable as error:
        why = f"{error}; its server has schema version {version}, not {VERSION}: restart it first"
        raise StoreUnavailable(why) from None


@contextmanager
def _opened(path: Path, stopped: Stopped) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StoreUnusable(f"{path}: no such file")
    given_up = False

    def ask() -> bool:
        nonlocal given_up
        given_up = given_up or stopped()
        return given_up

    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
        )
        with closing(connection) as database:
            version = schema_version(database)
            if not version:
                raise StoreUnusable("the file is empty")
            if version < VERSION:
                _migrate(path, database, version)
            database.set_progress_handler(ask, STEPS)
            yield database
    except StoreUnusable as error:
        raise StoreUnusable(f"{path}: {error}") from None
    except TROUBLE as error:
        if given_up:
            raise GivenUp from None
        raise StoreUnavailable(f"{path}: {error}") from None
