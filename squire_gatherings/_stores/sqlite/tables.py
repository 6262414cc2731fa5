"""Many rows with few statements.

Each statement lets go of the interpreter's lock and waits for it again: a thousand rows in a
thousand statements would wait a thousand times for a busy server.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

_AT_ONCE = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows go into one statement: a few sizes, so that statements stay prepared."""

Row = tuple[Any, ...]
TableKey = tuple[int, str, str]
"""A gathering's key, and the scope and the id of one of its syncs."""


def insert_rows(
    database: sqlite3.Connection, into: str, rows: Sequence[Row], *, on_conflict: str = ""
) -> None:
    """Insert all `rows`, of the same width, `into` a table (with its columns)."""
    done = 0
    for size in _AT_ONCE:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            database.execute(
                _insert(into, len(part), len(part[0]), on_conflict),
                tuple(chain.from_iterable(part)),
            )


def find_gatherings(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the key and the head of those gatherings that the tables have."""
    found: dict[str, tuple[int, int]] = {}
    for part in _padded([(one,) for one in ids]):
        rows = database.execute(
            _select_gatherings(len(part)),
            tuple(chain.from_iterable(part)),
        )
        found.update((one, (key, head)) for one, key, head in rows)
    return found


def find_epochs(database: sqlite3.Connection, keys: Sequence[int]) -> dict[int, str]:
    """Return the epoch of the last op that the tables have of each of these gatherings."""
    found: dict[int, str] = {}
    for part in _padded([(one,) for one in keys]):
        rows = database.execute(_select_epochs(len(part)), tuple(chain.from_iterable(part)))
        found.update((key, epoch or "") for key, epoch in rows)
    return found


def has_any_sync(database: sqlite3.Connection, keys: Sequence[TableKey]) -> bool:
    """Whether the tables have any of these syncs."""
    for part in _padded(keys):
        found = database.execute(
            _select_syncs(len(part)), tuple(chain.from_iterable(part))
        ).fetchone()
        if found is not None:
            return True
    return False


def insert_entry(
    database: sqlite3.Connection, entry: bytes, version: int, absent: Sequence[TableKey]
) -> int | None:
    """Commit an entry of the journal, with one call; return its number.

    None, with nothing written, if somebody else has written to the file since its data version
    was `version`, or the tables have one of the `absent` syncs.
    """
    most = max(0, len(absent) - _AT_ONCE[0])
    if has_any_sync(database, absent[:most]):
        return None
    last = next(_padded(absent[most:]), ())
    # A write statement has the lock before it looks at anything, and commits at its end.
    inserted = database.execute(
        _insert_entry(len(last)), (entry, version, *chain.from_iterable(last))
    )
    return inserted.lastrowid if inserted.rowcount else None


def _padded(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows that may be repeated into parts of few sizes."""
    largest = _AT_ONCE[0]
    for start in range(0, len(rows), largest):
        part = rows[start : start + largest]
        size = min(size for size in _AT_ONCE if size >= len(part))
        yield [*part, *([part[-1]] * (size - len(part)))]


# Texts are kept: SQLite's module finds the prepared statement of one by its hash.


@cache
def _insert(into: str, rows: int, width: int, on_conflict: str) -> str:
    return f"INSERT INTO {into} VALUES {_places(rows, width)} {on_conflict}"


@cache
def _select_gatherings(rows: int) -> str:
    return (
        f"SELECT id, key, head FROM (VALUES {_places(rows, 1)}) AS wanted"
        " CROSS JOIN gatherings ON id = wanted.column1"
    )


@cache
def _select_epochs(rows: int) -> str:
    return (
        "SELECT column1, (SELECT epoch FROM epochs WHERE gathering = column1"
        f" ORDER BY first_seq DESC LIMIT 1) FROM (VALUES {_places(rows, 1)})"
    )


@cache
def _select_syncs(rows: int) -> str:
    return (
        f"SELECT 1 FROM (VALUES {_places(rows, 3)}) AS wanted CROSS JOIN syncs"
        " ON gathering = wanted.column1 AND scope = wanted.column2 AND id = wanted.column3 LIMIT 1"
    )


@cache
def _insert_entry(absent: int) -> str:
    unless = f" AND NOT EXISTS ({_select_syncs(absent)})" if absent else ""
    return (
        "INSERT INTO journal (entry) SELECT ?"
        f" WHERE (SELECT data_version FROM pragma_data_version) = ?{unless}"
    )


def _places(rows: int, width: int) -> str:
    place = f"({','.join('?' * width)})"
    return ",".join([place] * rows)
