"""The stores, and which of them a URL names."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from squire_gatherings._hall.store import Store
from squire_gatherings._rules.shards import shard_of
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.shards import noted_shards, shard_name
from squire_gatherings._stores.sqlite.store import SqliteStore, open_sqlite_store
from squire_gatherings._values.errors import BadSetting

__all__ = [
    "MemoryStore",
    "SqliteStore",
    "check_store",
    "folder_path",
    "open_sqlite_store",
    "open_store",
    "sqlite_path",
]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


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
        with _extra():
            from squire_gatherings._stores.postgres.store import open_postgres_store
        async with open_postgres_store(url, flush_timeout=flush_timeout) as database:
            yield database
    else:
        path = _url_path(url)
        async with open_sqlite_store(path, flush_timeout=flush_timeout, shared=shared) as store:
            yield store


def check_store(url: str) -> None:
    """Check whether a URL may name a store. Raises `BadSetting` if it can't."""
    if is_postgres(url):
        with _extra():
            from squire_gatherings._stores.postgres.address import Address
        Address.parse(url)
    elif url != "memory:":
        _url_path(url)


def is_postgres(url: str) -> bool:
    """Return whether a URL names a database of PostgreSQL."""
    return url.startswith(_POSTGRES)


@contextmanager
def _extra() -> Iterator[None]:
    """Raise `BadSetting` where what the block imports isn't installed."""
    try:
        yield
    except ImportError:
        raise BadSetting(
            "a store in PostgreSQL needs psycopg: pip install 'squire-gatherings[postgres]'"
        ) from None


def sqlite_path(text: str, gathering: str | None = None) -> Path:
    """Return the path of an SQLite store that is named by its URL, or by the path itself.

    Args:
        text: The URL, or the path. With a slash at its end it's a folder of shards.
        gathering: The gathering that is looked for in it: of a folder, the path of its shard is
            returned.

    Raises:
        BadSetting: It is another URL, or a folder of shards, and no gathering is named.
    """
    path = folder_path(text)
    if not text.endswith("/"):
        return path
    shards = noted_shards(path)
    if gathering is None:
        raise BadSetting(f"{path} has {shards} shards: name one of its files: {shard_name(0)}, …")
    return path / shard_name(shard_of(gathering, shards))


def folder_path(text: str) -> Path:
    """Return the path that a URL names, or that is a path itself. Raises `BadSetting`."""
    return Path(text) if ":" not in text.partition("/")[0] else _url_path(text)


def _url_path(url: str) -> Path:
    path = url.removeprefix(_SQLITE)
    if path == url or not path:
        # Not the whole URL: one for another store may carry a password.
        scheme = url.partition(":")[0][:20]
        hint = ", with three slashes" if scheme == "sqlite" else f", not {scheme!r}"
        if url == "memory:":
            raise BadSetting("a store in memory has no file: name one by sqlite:///PATH")
        raise BadSetting(f"a store is memory: or sqlite:///PATH{hint}")
    if path == ":memory:":
        raise BadSetting("a store in memory is memory:, not sqlite:///:memory:")
    if "\0" in path:
        raise BadSetting("the path of a store can't contain a null character")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadSetting(f"there's no home directory for {path!r}") from None
