"""Many rows with few statements.

Each statement lets go of the interpreter's lock and waits for it again: a thousand rows in a
thousand statements would wait a thousand times for a busy server.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

_AT_ONCE = (256, 32, 4, 1)
"""How many rows go into one statement: a few sizes, so that statements stay prepared."""

Row = tuple[Any, ...]


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
                f"INSERT INTO {into} VALUES {_places(part)} {on_conflict}",
                tuple(chain.from_iterable(part)),
            )


def find_gatherings(database: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the key and the head of those gatherings that the tables have."""
    found: dict[str, tuple[int, int]] = {}
    for part in _padded([(one,) for one in ids]):
        rows = database.execute(
            f"SELECT id, key, head FROM (VALUES {_places(part)}) AS wanted"
            " CROSS JOIN gatherings ON id = wanted.column1",
            tuple(chain.from_iterable(part)),
        )
        found.update((one, (key, head)) for one, key, head in rows)
    return found


def has_any_sync(database: sqlite3.Connection, keys: Sequence[tuple[int, str, str]]) -> bool:
    """Whether the tables have any of these syncs: gathering's key, scope, id."""
    for part in _padded(keys):
        found = database.execute(
            f"SELECT 1 FROM (VALUES {_places(part)}) AS wanted CROSS JOIN syncs"
            " ON gathering = wanted.column1 AND scope = wanted.column2 AND id = wanted.column3"
            " LIMIT 1",
            tuple(chain.from_iterable(part)),
        ).fetchone()
        if found is not None:
            return True
    return False


def _padded(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows that may be repeated into parts of few sizes."""
    largest = _AT_ONCE[0]
    for start in range(0, len(rows), largest):
        part = rows[start : start + largest]
        size = min(size for size in _AT_ONCE if size >= len(part))
        yield [*part, *([part[-1]] * (size - len(part)))]


def _places(rows: Sequence[Row]) -> str:
    place = f"({','.join('?' * len(rows[0]))})"
    return ",".join([place] * len(rows))
