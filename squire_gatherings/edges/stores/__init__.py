"""The stores, and which of them a URL names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from squire_gatherings.actors.store import Store
from squire_gatherings.edges.stores.memory import MemoryStore
from squire_gatherings.edges.stores.sqlite import SqliteStore, open_sqlite_store
from squire_gatherings.values.errors import BadSetting

__all__ = ["MemoryStore", "SqliteStore", "open_sqlite_store", "open_store"]

_SQLITE = "sqlite:///"


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open `memory:` or `sqlite:///PATH` (`sqlite:////PATH` for an absolute path).

    Raises `BadSetting` for another URL, and what `open_sqlite_store` raises.
    """
    if url == "memory:":
        yield MemoryStore()
    elif url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        async with open_sqlite_store(url.removeprefix(_SQLITE)) as store:
            yield store
    else:
        # Not the whole URL: one for another store may carry a password.
        scheme = url.partition(":")[0][:20]
        raise BadSetting(f"a store is memory: or sqlite:///PATH, not {scheme!r}")
