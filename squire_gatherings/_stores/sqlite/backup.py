"""A backup: the file as it is at one moment, copied while a server goes on writing to it.

`VACUUM INTO` is one transaction that only reads. SQLite's backup interface (the shell's `.backup`)
begins again whenever somebody writes, and never ends while a server is busy.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from secrets import token_hex

from squire_gatherings._stores.sqlite.connection import STEPS, TROUBLE
from squire_gatherings._stores.sqlite.place import PRIVATE, make_private
from squire_gatherings._stores.sqlite.schema import schema_version
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable

BUSY_TIMEOUT = 10.0
"""How many seconds we wait for somebody else's lock."""

Progress = Callable[[int, int], None]
"""Takes how many bytes were copied, and about how many there are; may raise to give up."""


def back_up(source: Path, target: Path, progress: Progress) -> int:
    """Copy a store's file.

    The copy is its owner's alone, and appears under its name when all of it is on the disk. Nothing
    is left of a copy that wasn't finished.

    Args:
        source: The store's file.
        target: The copy: a path where nothing is yet.
        progress: Is told every few milliseconds how far the copy is.

    Returns:
        How many bytes the copy has.

    Raises:
        StoreUnusable: The source isn't a store, or the target exists.
        StoreUnavailable: The source can't be read now, or the target can't be written.
        BaseException: Whatever `progress` raises.
    """
    if not source.is_file():
        raise StoreUnusable(f"{source}: no such file")
    if os.path.lexists(target):
        raise StoreUnusable(f"{target}: exists already")
    # Not longer than a name may be, in bytes.
    unfinished = target.with_name(f".{target.name[:40]}.{token_hex(4)}")
    try:
        made = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE)
        try:
            try:
                make_private(made)
            finally:
                os.close(made)
            _copy(source, unfinished, progress)
            return _finish(unfinished, target)
        finally:
            for suffix in ("", "-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{unfinished}{suffix}")
    except OSError as error:
        raise StoreUnavailable(f"{target}: {error.strerror}") from None


def _copy(source: Path, target: Path, progress: Progress) -> None:
    raised: list[BaseException] = []

    def tell() -> int:
        # What is raised in here would be swallowed: SQLite only stops.
        try:
            progress(target.stat().st_size, size)
        except BaseException as error:
            raised.append(error)
        return len(raised)

    uri = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)) as database:
            try:
                version = schema_version(database)
            except StoreUnusable as error:
                raise StoreUnusable(f"{source}: {error}") from None
            if not version:
                raise StoreUnusable(f"{source}: the file is empty")
            [pages] = database.execute("PRAGMA page_count").fetchone()
            [page] = database.execute("PRAGMA page_size").fetchone()
            size = pages * page
            database.set_progress_handler(tell, STEPS)
            # A path needn't be text in UTF-8.
            database.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(target),))
    except TROUBLE as error:
        if raised:
            raise raised[0] from None
        raise StoreUnavailable(f"{source}: {error}") from None


def _finish(unfinished: Path, target: Path) -> int:
    """Give a complete copy its name, once it's on the disk; return its size."""
    file = os.open(unfinished, os.O_RDWR)
    try:
        os.fsync(file)
        size = os.fstat(file).st_size
    finally:
        os.close(file)
    try:
        # Unlike a rename, it fails where somebody has made the target meanwhile.
        os.link(unfinished, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        os.rename(unfinished, target)
    _sync_directory(target.absolute().parent)
    return size


def _sync_directory(path: Path) -> None:
    with suppress(OSError):
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
