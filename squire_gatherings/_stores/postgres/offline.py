"""A store's database, opened by a command beside the servers that have it.

Each command is one transaction: servers notice that somebody else has written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TypedDict, TypeVar

import psycopg

from squire_gatherings._stores.giving_up import GivenUp, Stopped
from squire_gatherings._stores.postgres.address import Address
from squire_gatherings._stores.postgres.archive import LogsOfDatabase
from squire_gatherings._stores.postgres.link import Connection, look_at, told
from squire_gatherings._stores.postgres.log_changes import ChangesOfDatabase
from squire_gatherings._stores.postgres.migration import schema_version
from squire_gatherings._stores.postgres.schema import VERSION
from squire_gatherings._stores.postgres.transactions import one_moment
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

T = TypeVar("T")

ASKED_EVERY = 0.1
"""How many seconds lie between two questions whether to give up."""


def looked(url: str, function: Callable[[LogsOfDatabase], T], stopped: Stopped) -> T:
    """Return what a function finds in the database, also in a standby, as it is at one moment.

    Raises:
        BadSetting: It isn't such a URL.
        StoreUnusable: The database has no store.
        StoreUnavailable: It can't be read now.
        GivenUp: `stopped` said so.
    """
    with opened(url, stopped) as (connection, schema), one_moment(connection):
        return function(LogsOfDatabase(connection, schema))


def changed(url: str, function: Callable[[ChangesOfDatabase], T], stopped: Stopped) -> T:
    """Return what a function says that changes the database, in one transaction.

    Raises:
        BadSetting: It isn't such a URL.
        StoreUnusable: The database has no store.
        StoreUnavailable: It can't be changed now.
        GivenUp: `stopped` said so.
        Exception: What the function raises; then nothing was changed.
    """
    with opened(url, stopped) as (connection, schema), connection.transaction():
        return function(ChangesOfDatabase(connection, schema))


class Look(TypedDict):
    """What a look at a database has found; see `_stores.offline.Database`."""

    name: str
    server: str
    version: int
    flushes: bool
    answers_in: float


def look(url: str) -> Look:
    """Look at a database in which a store is to be; see `_stores.offline.look_at_database`."""
    address = Address.parse(url)
    try:
        with psycopg.connect(address.conninfo, autocommit=True) as connection:
            server, _ = look_at(connection)
            began = monotonic()
            connection.execute("SELECT 1")
            answers_in = monotonic() - began
            number = connection.info.server_version
            return {
                "name": address.name,
                "server": f"{number // 10_000}.{number % 10_000}",
                "version": schema_version(connection, address.schema),
                "flushes": server.flushes,
                "answers_in": answers_in,
            }
    except (StoreUnusable, StoreUnavailable) as error:
        raise type(error)(f"{address.name}: {error}") from None
    except psycopg.Error as error:
        raise StoreUnavailable(f"{address.name}: {told(error)}") from None


@contextmanager
def opened(url: str, stopped: Stopped) -> Iterator[tuple[Connection, str]]:
    """Connect; what goes on within the block is given up when `stopped` says so.

    Yields:
        The connection, and the store's schema.

    Raises:
        BadSetting: It isn't such a URL.
        StoreUnusable: The database has no store.
        StoreUnavailable: The database can't do it now.
        GivenUp: `stopped` said so.
    """
    address = Address.parse(url)
    given_up = Event()
    try:
        with psycopg.connect(address.conninfo, autocommit=True) as connection:
            connection.prepare_threshold = None
            version = schema_version(connection, address.schema)
            if version != VERSION:
                raise StoreUnusable(
                    f"the schema {address.schema} has version {version}, not {VERSION}:"
                    " serve it once"
                    if version
                    else f"the database has no schema {address.schema}"
                )
            with _asking(connection, stopped, given_up):
                yield connection, address.schema
    except UnicodeDecodeError as error:
        raise StoreUnavailable(f"{address.name}: damaged ({error}): see `verify`") from None
    except StoreUnusable as error:
        raise StoreUnusable(f"{address.name}: {error}") from None
    except psycopg.Error as error:
        if given_up.is_set():
            raise GivenUp from None
        raise StoreUnavailable(f"{address.name}: {told(error)}") from None


@contextmanager
def _asking(connection: Connection, stopped: Stopped, given_up: Event) -> Iterator[None]:
    """Cancel what the database does once `stopped` says so."""
    is_over = Event()

    def ask() -> None:
        while not is_over.wait(ASKED_EVERY):
            if stopped():
                given_up.set()
                connection.cancel_safe(timeout=ASKED_EVERY * 10)
                return

    thread = Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
