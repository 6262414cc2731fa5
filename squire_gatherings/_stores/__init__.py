"""The stores, and which of them a URL names."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from squire_gatherings._hall.store import Store
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.sqlite.store import SqliteStore, open_sqlite_store
from squire_gatherings._stores.urls import (
    check_store,
    folder_path,
    is_postgres,
    needing_psycopg,
    path_of,
    sqlite_path,
    store_name,
)

__all__ = [
    "MemoryStore",
    "SqliteStore",
    "check_store",
    "folder_path",
    "is_postgres",
    "open_sqlite_store",
    "open_store",
    "sqlite_path",
    "store_name",
]


@asynccontextmanager
async def open_store(
    url: str, *, flush_timeout: float = 5.0, shared: Sequence[int] = ()
) -> AsyncIterator[Store]:
    """Open the store that `url` names, until the block is left.

    Args:
        url: `memory:`, or `sqlite:///PATH`, where PATH is relative to the working directory,
            absolute with a fourth slash, or in a home directory with a first `~`; or
            `postgresql://USER@HOST/DATABASE` with libpq's parameters, and `schema=NAME` for another
            schema than `squire_gatherings`.
        flush_timeout: How many seconds are left, when the block is left, to make durable what is
            queued.
        shared: What another process that has the store shares (`Shareable.descriptors`).

    Yields:
        The store.

    Raises:
        BadSetting: The URL names no store.
        StoreUnusable: The file, or the database, can't be a store of ours.
        StoreUnavailable: It can't be opened now.

    Cancellation: opening is cancelled before the block begins, with nothing left open. Later, the
    block is left as ever: what is queued is made durable within `flush_timeout` seconds.
    """
    if url == "memory:" and not shared:
        yield MemoryStore()
    elif is_postgres(url):
        with needing_psycopg():
            from squire_gatherings._stores.postgres.store import open_postgres_store
        async with open_postgres_store(url, flush_timeout=flush_timeout) as database:
            yield database
    else:
        path = path_of(url)
        async with open_sqlite_store(path, flush_timeout=flush_timeout, shared=shared) as store:
            yield store
