"""The URLs of stores: which store one names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squire_gatherings._rules.shards import shard_of
from squire_gatherings._stores.shards import noted_shards, shard_name
from squire_gatherings._values.errors import BadSetting

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(url: str) -> bool:
    """Return whether a URL names a database of PostgreSQL."""
    return url.startswith(_POSTGRES)


@contextmanager
def needing_psycopg() -> Iterator[None]:
    """Raise `BadSetting` where what the block imports isn't installed."""
    try:
        yield
    except ImportError:
        raise BadSetting(
            "a store in PostgreSQL needs psycopg: pip install 'squire-gatherings[postgres]'"
        ) from None


def check_store(url: str) -> None:
    """Check whether a URL may name a store. Raises `BadSetting` if it can't."""
    if is_postgres(url):
        with needing_psycopg():
            from squire_gatherings._stores.postgres.address import Address
        Address.parse(url)
    elif url != "memory:":
        path_of(url)


def store_name(url: str) -> str:
    """Return what a store is called where others read it: without a password.

    Raises `BadSetting` if it can't be the URL of a store.
    """
    if not is_postgres(url):
        return url
    with needing_psycopg():
        from squire_gatherings._stores.postgres.address import Address
    return Address.parse(url).name


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
    return Path(text) if ":" not in text.partition("/")[0] else path_of(text)


def path_of(url: str) -> Path:
    """Return the path of an SQLite store's URL. Raises `BadSetting` if it isn't one."""
    path = url.removeprefix(_SQLITE)
    if path == url or not path:
        # Not the whole URL: one for another store may carry a password.
        scheme = url.partition(":")[0][:20]
        hint = {"sqlite": ", with three slashes"}.get(scheme, f", not {scheme!r}")
        if url == "memory:" or is_postgres(url):
            where = "in memory" if url == "memory:" else "in PostgreSQL"
            raise BadSetting(f"a store {where} has no file: name one by sqlite:///PATH")
        raise BadSetting(f"a store is memory:, sqlite:///PATH or postgresql://HOST/DATABASE{hint}")
    if path == ":memory:":
        raise BadSetting("a store in memory is memory:, not sqlite:///:memory:")
    if "\0" in path:
        raise BadSetting("the path of a store can't contain a null character")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BadSetting(f"there's no home directory for {path!r}") from None
