"""Target: a store's file that somebody damaged, or that a disk did.

The store verifies, opens, reads and writes it, or refuses it with a documented error. The damage
affects nothing else.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from squire_gatherings._stores import open_sqlite_store
from squire_gatherings._stores.findings import Report
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.errors import StoreConflict, StoreUnavailable, StoreUnusable
from squire_gatherings._values.log import Append
from tests.filesystem.lives import GATHERINGS, appends_of
from tests.fuzz import lasting
from tests.fuzz.target import Target, clear
from tests.stores.appends import all_of, an_append

NAME = "rooms.sqlite3"
IN_MEMORY = Path("/dev/shm")
"""Where files are in memory: to wait for a disk takes most of the time otherwise."""
PATCH = 5
"""The bytes in a patch before its content: where (three bytes), how often, and how long."""


@cache
def good_file() -> bytes:
    """The file that an orderly end leaves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME

        async def run() -> None:
            async with open_sqlite_store(path) as store:
                for append in appends_of(7):
                    await store.append(append)

        lasting.run(run)
        return path.read_bytes()


def damaged(data: bytes) -> bytes:
    """Apply the patches that an input describes; an incomplete one at the end cuts the file off."""
    content = bytearray(good_file())
    at = 0
    while at + PATCH <= len(data):
        place = int.from_bytes(data[at : at + 3], "big") % len(content)
        times, size = 1 + data[at + 3] % 8, 1 + data[at + 4] % 32
        patch = data[at + PATCH : at + PATCH + size] * times
        content[place : place + len(patch)] = patch
        at += PATCH + size
    if at < len(data):
        del content[int.from_bytes(data[at:], "big") % len(content) :]
    return bytes(content)


@cache
def memory() -> Path | None:
    """Return the folder for a run's files; None is the usual one."""
    return IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None


@contextmanager
def silence() -> Iterator[None]:
    """Log nothing: nobody reads the messages about each file."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


def verified(path: Path) -> Report | None:
    try:
        return verify(path, (), lambda *_: None)
    except (StoreUnusable, StoreUnavailable) as error:
        clear(error)
        return None


async def use(path: Path) -> None:
    try:
        async with open_sqlite_store(path, busy_timeout=0) as store:
            for name in GATHERINGS:
                head = (await store.load(name, recent_syncs=3)).seq
                await all_of(store, name)
                await store.append(next_append(name, head))
            await store._write_connection.call(store._writer.fold)
    except (StoreUnusable, StoreUnavailable, StoreConflict) as error:
        clear(error)


def next_append(name: str, head: int) -> Append:
    return an_append(name, max(head, 0) + 1, 2, "x")


def run(data: bytes) -> None:
    content = damaged(data)
    with tempfile.TemporaryDirectory(dir=memory()) as folder, silence():
        path = Path(folder) / NAME
        path.write_bytes(content)
        report = verified(path)
        if content == good_file():
            assert report is not None
            assert not report.wrong
        lasting.run(use, path)
        verified(path)


TARGETS = (
    Target(
        "store_file",
        run,
        [
            b"",
            b"\x00\x00\x00\x00\x01xx",
            b"\x00\x00\x12\x00\x03\x02\x01\x01\x01",
            b"\x00\x10\x00\x01\x08" + bytes(9),
            b"\x00\x20\x00\x07\x1f" + bytes(range(32)),
            b"\x40\x00",
        ],
        ["\x0d\x00", "\x0a", "\x05\x00", "CREATE TABLE", "friday", b"\xff\xff\xff\xff", '{"n":'],
    ),
)
