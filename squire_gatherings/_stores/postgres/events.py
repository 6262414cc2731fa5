"""The rows of lifecycle events: written many at once, and deleted once they are delivered.

There is one outbox for all nodes. A node writes what happens to the gatherings that it has, so the
events of a gathering come in order. The row with the last number is locked until the commit, so
whoever reads an event finds all those before it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from squire_gatherings._stores.kept import event_row, read_event
from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._stores.postgres.sleep import forget as forget_sleep
from squire_gatherings._stores.postgres.transactions import unflushed
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.events import (
    EventKind,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)

_BEGIN = """
INSERT INTO {s}.outboxes (node, last)
SELECT %s, last FROM {s}.event_numbers ON CONFLICT (node) DO NOTHING
"""
_LEFT_OPEN = """
SELECT i.event, i.digest, coalesce(g.head, 0) FROM {s}.incarnations AS i
LEFT JOIN {s}.gatherings AS g ON g.id = i.gathering
LEFT JOIN {s}.nodes AS n ON n.key = g.owner AND n.state <> 'dead' AND n.key <> %s
WHERE n.key IS NULL
"""


def begin(connection: Connection, schema: str, node: int, *, with_open: bool) -> EventsLeft:
    """Say what is in the outbox, and begin to count a node's events."""
    connection.execute(statement(_BEGIN, schema), (node,))
    last = connection.execute(
        statement("SELECT last FROM {s}.outboxes WHERE node = %s", schema), (node,)
    ).fetchone()
    waiting = connection.execute(statement("SELECT count(*) FROM {s}.events", schema)).fetchone()
    assert last is not None
    assert waiting is not None
    left = tuple(_left_open(connection, schema, node)) if with_open else ()
    return EventsLeft(last[0], waiting[0], left)


def _left_open(connection: Connection, schema: str, node: int) -> Iterable[OpenIncarnation]:
    """Return the incarnations that no living node but this one may have."""
    rows = connection.execute(statement(_LEFT_OPEN, schema), (node,), binary=True).fetchall()
    found = [OpenIncarnation(_read(event, digest), head) for event, digest, head in rows]
    return sorted(found, key=lambda one: one.opened.number)


def write(connection: Connection, schema: str, node: int, events: Sequence[LifecycleEvent]) -> None:
    """Commit a node's events, and which incarnations are open after them.

    Those that are there stay, and those of gatherings that another node has are left out.
    """
    if not events:
        return
    with connection.transaction():
        row = connection.execute(
            statement("SELECT last FROM {s}.outboxes WHERE node = %s FOR UPDATE", schema), (node,)
        ).fetchone()
        before = 0 if row is None else row[0]
        new = [one for one in events if one.number > before]
        ours = _ours(connection, schema, node, {one.gathering for one in new})
        last = max(one.number for one in events)
        connection.execute(
            statement(
                "INSERT INTO {s}.outboxes (node, last) VALUES (%s, %s)"
                " ON CONFLICT (node) DO UPDATE SET last = greatest({s}.outboxes.last, %s)",
                schema,
            ),
            (node, last, last),
        )
        _insert(connection, schema, [one for one in new if one.gathering in ours])


def _ours(connection: Connection, schema: str, node: int, gatherings: set[str]) -> set[str]:
    """Return which gatherings a node has, until the end of the transaction."""
    rows = connection.execute(
        statement(
            "SELECT g.id FROM {s}.gatherings AS g JOIN {s}.nodes AS n ON n.key = g.owner"
            " WHERE g.id = ANY(%b::text[]) AND n.key = %s AND n.state <> 'dead'"
            " ORDER BY g.key FOR SHARE OF g FOR KEY SHARE OF n",
            schema,
        ),
        (list(gatherings), node),
    ).fetchall()
    return {one for [one] in rows}


def _insert(connection: Connection, schema: str, events: Sequence[LifecycleEvent]) -> None:
    if not events:
        return
    row = connection.execute(
        statement("UPDATE {s}.event_numbers SET last = last + %s RETURNING last", schema),
        (len(events),),
    ).fetchone()
    assert row is not None
    rows: list[tuple[Any, ...]] = []
    opened: dict[str, tuple[Any, ...]] = {}
    dispersed: list[str] = []
    for number, event in enumerate(events, start=row[0] - len(events) + 1):
        encoded = event_row(evolve(event, number=number))
        rows.append((number, *encoded))
        if event.kind is EventKind.OPENED:
            opened[event.incarnation] = (event.incarnation, event.gathering, *encoded)
        elif event.kind is EventKind.DISPERSED and opened.pop(event.incarnation, None) is None:
            dispersed.append(event.incarnation)
    connection.execute(
        statement(
            "INSERT INTO {s}.events (number, event, digest)"
            " SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::bytea[])",
            schema,
        ),
        [list(one) for one in zip(*rows, strict=True)],
    )
    if opened:
        connection.execute(
            statement(
                "INSERT INTO {s}.incarnations (id, gathering, event, digest)"
                " SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[])"
                " ON CONFLICT DO NOTHING",
                schema,
            ),
            [list(one) for one in zip(*opened.values(), strict=True)],
        )
    if dispersed:
        connection.execute(
            statement("DELETE FROM {s}.incarnations WHERE id = ANY(%b::text[])", schema),
            (dispersed,),
        )
        forget_sleep(connection, schema, dispersed)


def read(
    connection: Connection, schema: str, after: int, up_to: int, limit: int
) -> tuple[LifecycleEvent, ...]:
    """Return the first events between two numbers."""
    rows = connection.execute(
        statement(
            "SELECT event, digest FROM {s}.events WHERE number > %s AND number <= %s"
            " ORDER BY number LIMIT %s",
            schema,
        ),
        (after, up_to, limit),
        binary=True,
    )
    return tuple(_read(*row) for row in rows)


def forget(connection: Connection, schema: str, up_to: int) -> None:
    """Delete what was delivered, without waiting for the disk."""
    with unflushed(connection):
        connection.execute(statement("DELETE FROM {s}.events WHERE number <= %s", schema), (up_to,))


def _read(encoded: bytes, digest: bytes) -> LifecycleEvent:
    try:
        return read_event(encoded, digest)
    except ValueError as error:
        raise StoreUnavailable(f"the database is damaged: {error}") from error
