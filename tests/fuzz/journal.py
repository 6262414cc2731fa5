"""Targets: entries of the SQLite store's journal, as a damaged file may have them.

An unreadable entry raises `ValueError`. The store folds or refuses each entry, and none keeps it
from opening.
"""

import logging
import sqlite3
from functools import cache

from msgspec.structs import replace

from squire_gatherings._stores.sqlite.fold import fold_file
from squire_gatherings._stores.sqlite.journal import decode_entry, encode_entry
from squire_gatherings._stores.sqlite.migration import migrate
from squire_gatherings._values.log import Append
from tests.fuzz.target import Target, clear
from tests.stores.appends import an_append

EXPECTED = an_append("a", 3)


def run_journal(data: bytes) -> None:
    try:
        appends = decode_entry(data)
    except ValueError as error:
        clear(error)
        return
    try:
        entry = encode_entry(appends)
    except ValueError as error:
        clear(error)
        return
    assert decode_entry(entry) == appends
    assert encode_entry(decode_entry(entry)) == entry


@cache
def a_database() -> sqlite3.Connection:
    """A database that has some ops of two gatherings, and a good entry in its journal."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    migrate(database)
    for append in (an_append("a", 1, 2), an_append("b", 1)):
        _put(database, encode_entry([append]))
    fold_file(database)
    return database


def _put(database: sqlite3.Connection, entry: bytes) -> None:
    database.execute("INSERT INTO journal (entry) VALUES (?)", (entry,))


def run_fold(data: bytes) -> None:
    """Fold two good appends with anything between them: it harms its own gathering alone."""
    database = a_database()
    log = logging.getLogger(fold_file.__module__)
    # It logs each append that can't be applied.
    log.disabled = True
    database.execute("BEGIN")
    try:
        _put(database, data)
        _put(database, encode_entry([an_append("good", 1)]))
        fold_file(database)
        [left] = database.execute("SELECT count(*) FROM journal").fetchone()
        assert left == 0
        for gathering, least in (("a", 2), ("b", 1), ("good", 1)):
            key, head, first = database.execute(
                "SELECT key, head, first_seq FROM gatherings WHERE id = ?", (gathering,)
            ).fetchone()
            assert head >= least
            seqs = database.execute(
                "SELECT count(*), min(seq), max(seq) FROM ops WHERE gathering = ?", (key,)
            ).fetchone()
            assert seqs == (head + 1 - first, first, head)
    finally:
        log.disabled = False
        database.execute("ROLLBACK")


def _entries() -> list[bytes]:
    plain: list[Append] = [
        an_append("a", 3),
        an_append("b", 2, 3, snapshot=True),
        an_append("new", 1, 4, "x", snapshot=True),
        replace(an_append("a", 3), syncs=()),
        replace(an_append("c", 1), head=b""),
    ]
    return [encode_entry([one]) for one in plain] + [encode_entry(plain), encode_entry([])]


_WORDS = [
    b"\xa1a",
    b"\xa1b",
    b"\xc0",
    b"\xc4\x00",
    b"\x90",
    b"\xcf" + b"\xff" * 8,
    b"\x99\xa1a\x03",
]

TARGETS = (
    Target("journal", run_journal, _entries(), _WORDS),
    Target("fold", run_fold, _entries(), _WORDS),
)
