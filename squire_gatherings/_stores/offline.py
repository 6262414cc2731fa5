"""A store, opened by a command beside the server that may have it open, whichever store it is.

A store is named by its URL, or one of SQLite by the path of its file.
"""

from collections.abc import Callable, Collection
from typing import TypeVar

from attrs import frozen

from squire_gatherings._stores.findings import Progress, Report
from squire_gatherings._stores.giving_up import GivenUp as GivenUp
from squire_gatherings._stores.giving_up import Stopped
from squire_gatherings._stores.logs import LogChanges, Logs
from squire_gatherings._stores.shards import check_place
from squire_gatherings._stores.sqlite import offline as files
from squire_gatherings._stores.sqlite.logs import LogsOfFile
from squire_gatherings._stores.sqlite.verify import verify as verify_file
from squire_gatherings._stores.urls import is_postgres, needing_psycopg, sqlite_path

T = TypeVar("T")


def looked(
    store: str, function: Callable[[Logs], T], stopped: Stopped, gathering: str | None = None
) -> T:
    """Return what a function finds in a store, as it is at one moment.

    Args:
        store: The store. A folder of SQLite's is looked at in the shard of the gathering.
        function: What looks.
        stopped: Returns whether to give up.
        gathering: The gathering that is looked for.

    Raises:
        BadSetting: Its name can't be that of a store with logs.
        StoreUnusable: It isn't a store.
        StoreUnavailable: It can't be read now.
        GivenUp: `stopped` said so.
    """
    if is_postgres(store):
        with needing_psycopg():
            from squire_gatherings._stores.postgres import offline as databases
        return databases.looked(store, function, stopped)
    path = sqlite_path(store, gathering)
    return files.looked(path, lambda database: function(LogsOfFile(database)), stopped)


def changed(
    store: str,
    function: Callable[[LogChanges], T],
    stopped: Stopped,
    gathering: str | None = None,
) -> T:
    """Return what a function says that changes a store, in one transaction.

    Args:
        store: As for `looked`.
        function: What changes it.
        stopped: Returns whether to give up.
        gathering: As for `looked`.

    Raises:
        BadSetting: Its name can't be that of a store with logs.
        StoreUnusable: It isn't a store.
        StoreUnavailable: It can't be changed now.
        GivenUp: `stopped` said so.
        Exception: What the function raises; then nothing was changed.
    """
    if is_postgres(store):
        with needing_psycopg():
            from squire_gatherings._stores.postgres import offline as databases
        return databases.changed(store, function, stopped)
    path = sqlite_path(store, gathering)
    return files.changed(path, lambda database: function(LogsOfFile(database)), stopped)


def erase(store: str, stopped: Stopped) -> None:
    """Leave nothing of what was deleted; a database of PostgreSQL sees to that by itself.

    Raises:
        StoreUnusable: It isn't a store.
        StoreUnavailable: It can't be changed now, or somebody reads it all the time.
        GivenUp: `stopped` said so.
    """
    if not is_postgres(store):
        files.erase(sqlite_path(store), stopped)


def verify(store: str, gatherings: Collection[str], progress: Progress) -> Report:
    """Verify that a store has what was committed to it, as it is at one moment.

    Args:
        store: The store.
        gatherings: The ids of those to be verified; if there are none, all of them are, and all
            else that the store has.
        progress: Is told now and then how far it is.

    Raises:
        BadSetting: Its name can't be that of a store with logs.
        StoreUnusable: It isn't a store, or is one of another version.
        StoreUnavailable: It can't be read now.
        BaseException: Whatever `progress` raises.
    """
    if is_postgres(store):
        with needing_psycopg():
            from squire_gatherings._stores.postgres import verify as databases
        return databases.verify(store, gatherings, progress)
    return verify_file(sqlite_path(store), gatherings, progress)


@frozen(kw_only=True)
class Database:
    """What is told of a database of PostgreSQL."""

    name: str
    """Its URL without secrets."""
    server: str
    """The version of the server."""
    version: int
    """The version of the store's schema; 0 if there is none yet."""
    flushes: bool
    """Whether it waits for its disk."""
    answers_in: float
    """How many seconds a question takes."""


def look_at_database(store: str) -> Database:
    """Look at a database in which a store is to be.

    Raises:
        BadSetting: It isn't a URL of PostgreSQL.
        StoreUnusable: It can't be a store's.
        StoreUnavailable: It can't be reached, or only be read.
    """
    with needing_psycopg():
        from squire_gatherings._stores.postgres import offline as databases
    return Database(**databases.look(store))


def check_new(store: str, gathering: str, beside: str | None = None) -> None:
    """Check whether a new gathering may be in a store, and there where another one is.

    Raises `BadSetting`.
    """
    if not is_postgres(store):
        check_place(sqlite_path(store, beside or gathering), gathering)
