"""The rows of lifecycle events: written many at once, and deleted once they are delivered.

Each is JSON, with a digest by which `verify` sees whether it was changed.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from squire_gatherings._stores.kept import event_row, read_event
from squire_gatherings._stores.sqlite.sleep import forget as forget_sleep
from squire_gatherings._stores.sqlite.tables import Row, insert_rows
from squire_gatherings._stores.sqlite.transactions import writing
from squire_gatherings._stores.sqlite.writer import without_flushing
from squire_gatherings._values.events import (
    EventKind,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)

_encode = msgspec.json.Encoder().encode


def write(
    database: sqlite3.Connection, events: Sequence[LifecycleEvent], check: Callable[[], None]
) -> None:
    """Commit events, and which incarnations are open after them.

    Args:
        database: Where to.
        events: The events; those that are there already stay as they are.
        check: Raises `StoreUnavailable` if they went where nobody will find them.
    """
    rows: list[Row] = []
    opened: dict[str, Row] = {}
    dispersed: list[str] = []
    for event in events:
        row = event_row(event)
        rows.append((event.number, *row))
        if event.kind is EventKind.OPENED:
            opened[event.incarnation] = (event.incarnation, *row)
        elif event.kind is EventKind.DISPERSED and opened.pop(event.incarnation, None) is None:
            dispersed.append(event.incarnation)
    with writing(database):
        insert_rows(
            database,
            "events (number, event, digest)",
            rows,
            on_conflict="ON CONFLICT (number) DO NOTHING",
        )
        insert_rows(
            database,
            "incarnations (id, event, digest)",
            list(opened.values()),
            on_conflict="ON CONFLICT (id) DO NOTHING",
        )
        if dispersed:
            database.execute(
                "DELETE FROM incarnations WHERE id IN (SELECT value FROM json_each(?))",
                (_encode(dispersed).decode(),),
            )
            forget_sleep(database, dispersed)
    check()


def read(
    database: sqlite3.Connection, after: int, up_to: int, limit: int
) -> tuple[LifecycleEvent, ...]:
    """Return the first events between two numbers."""
    rows = database.execute(
        "SELECT event, digest FROM events WHERE number > ? AND number <= ? ORDER BY number LIMIT ?",
        (after, up_to, limit),
    )
    return tuple(read_event(*row) for row in rows)


def forget(database: sqlite3.Connection, up_to: int) -> None:
    """Delete what was delivered, without waiting for the disk."""
    with without_flushing(database):
        database.execute("DELETE FROM events WHERE number <= ?", (up_to,))


def left(database: sqlite3.Connection) -> EventsLeft:
    """Return what earlier halls have left; the journal must have been folded."""
    [last] = database.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
    ).fetchone()
    [waiting] = database.execute("SELECT count(*) FROM events").fetchone()
    rows = database.execute("SELECT event, digest FROM incarnations").fetchall()
    opened = sorted((read_event(*row) for row in rows), key=lambda event: event.number)
    return EventsLeft(last, waiting, tuple(_with_seqs(database, opened)))


def _with_seqs(
    database: sqlite3.Connection, opened: Iterable[LifecycleEvent]
) -> Iterator[OpenIncarnation]:
    for event in opened:
        row = database.execute(
            "SELECT head FROM gatherings WHERE id = ?", (event.gathering,)
        ).fetchone()
        yield OpenIncarnation(event, 0 if row is None else row[0])
