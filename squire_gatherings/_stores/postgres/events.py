"""The rows of lifecycle events: written many at once, and deleted once they are delivered.

They are in an outbox, which is one node's at a time. A node takes one whose node is gone, and goes
on with its numbers; so it finds there what that one has left.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

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

_TAKE = """
UPDATE {s}.outboxes SET node = %(node)s WHERE key = (
    SELECT key FROM {s}.outboxes AS o
    WHERE node = %(node)s OR NOT EXISTS (
        SELECT FROM {s}.nodes AS n WHERE n.key = o.node AND n.state <> 'dead')
    ORDER BY node = %(node)s DESC NULLS LAST, key LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING key, last
"""


@frozen
class Outbox:
    """The outbox that a node has."""

    key: int
    node: int


def begin(connection: Connection, schema: str, node: int) -> tuple[Outbox, EventsLeft]:
    """Take an outbox for a node, and say what is in it."""
    with connection.transaction():
        row = connection.execute(statement(_TAKE, schema), {"node": node}).fetchone()
        if row is None:
            row = connection.execute(
                statement(
                    "INSERT INTO {s}.outboxes (node) VALUES (%s) RETURNING key, last", schema
                ),
                (node,),
            ).fetchone()
        assert row is not None
        key, last = row
        waiting = connection.execute(
            statement("SELECT count(*) FROM {s}.events WHERE outbox = %s", schema), (key,)
        ).fetchone()
        left = tuple(_left_open(connection, schema, key))
        return Outbox(key, node), EventsLeft(last, waiting[0] if waiting else 0, left)


def _left_open(connection: Connection, schema: str, outbox: int) -> Iterator[OpenIncarnation]:
    rows = connection.execute(
        statement("SELECT event, digest FROM {s}.incarnations WHERE outbox = %s", schema),
        (outbox,),
        binary=True,
    ).fetchall()
    opened = sorted((_read(*row) for row in rows), key=lambda event: event.number)
    heads = connection.execute(
        statement("SELECT id, head FROM {s}.gatherings WHERE id = ANY(%b::text[])", schema),
        ([event.gathering for event in opened],),
    )
    seqs = dict(heads.fetchall())
    for event in opened:
        yield OpenIncarnation(event, seqs.get(event.gathering, 0))


def write(
    connection: Connection, schema: str, outbox: Outbox, events: Sequence[LifecycleEvent]
) -> None:
    """Commit events, and which incarnations are open after them; those that are there stay."""
    rows: list[tuple[Any, ...]] = []
    opened: dict[str, tuple[Any, ...]] = {}
    dispersed: list[str] = []
    for event in events:
        row = event_row(event)
        rows.append((event.number, *row))
        if event.kind is EventKind.OPENED:
            opened[event.incarnation] = (event.incarnation, *row)
        elif event.kind is EventKind.DISPERSED and opened.pop(event.incarnation, None) is None:
            dispersed.append(event.incarnation)
    if not rows:
        return
    numbers, encoded, digests = zip(*rows, strict=True)
    with connection.transaction():
        moved = connection.execute(
            statement(
                "UPDATE {s}.outboxes SET last = greatest(last, %s) WHERE key = %s AND node = %s",
                schema,
            ),
            (max(numbers), outbox.key, outbox.node),
        )
        if not moved.rowcount:
            raise StoreUnavailable("another node has our lifecycle events")
        connection.execute(
            statement(
                "INSERT INTO {s}.events (outbox, number, event, digest) SELECT %s, e.*"
                " FROM unnest(%b::bigint[], %b::bytea[], %b::bytea[]) AS e"
                " ON CONFLICT DO NOTHING",
                schema,
            ),
            (outbox.key, list(numbers), list(encoded), list(digests)),
        )
        if opened:
            ids, encoded, digests = zip(*opened.values(), strict=True)
            connection.execute(
                statement(
                    "INSERT INTO {s}.incarnations (outbox, id, event, digest) SELECT %s, i.*"
                    " FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) AS i"
                    " ON CONFLICT DO NOTHING",
                    schema,
                ),
                (outbox.key, list(ids), list(encoded), list(digests)),
            )
        if dispersed:
            connection.execute(
                statement("DELETE FROM {s}.incarnations WHERE id = ANY(%b::text[])", schema),
                (dispersed,),
            )
            forget_sleep(connection, schema, dispersed)


def read(
    connection: Connection, schema: str, outbox: Outbox | None, after: int, up_to: int, limit: int
) -> tuple[LifecycleEvent, ...]:
    """Return the first events between two numbers."""
    rows = connection.execute(
        statement(
            "SELECT event, digest FROM {s}.events WHERE outbox = %s AND number > %s"
            " AND number <= %s ORDER BY number LIMIT %s",
            schema,
        ),
        (None if outbox is None else outbox.key, after, up_to, limit),
        binary=True,
    )
    return tuple(_read(*row) for row in rows)


def forget(connection: Connection, schema: str, outbox: Outbox, up_to: int) -> None:
    """Delete what was delivered, without waiting for the disk."""
    with unflushed(connection):
        connection.execute(
            statement("DELETE FROM {s}.events WHERE outbox = %s AND number <= %s", schema),
            (outbox.key, up_to),
        )


def _read(encoded: bytes, digest: bytes) -> LifecycleEvent:
    try:
        return read_event(encoded, digest)
    except ValueError as error:
        raise StoreUnavailable(f"the database is damaged: {error}") from error
