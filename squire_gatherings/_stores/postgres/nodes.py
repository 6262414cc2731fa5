"""The rows of nodes: a process says there that it lives. All calls are on a worker thread.

A node that is gone owns nothing, whatever the rows of gatherings say: so to leave, or to be
declared dead, is one row's end. A beat and that serialise on the row.
"""

import secrets
from collections.abc import Iterable

from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.nodes import Node, NodeState

ALONE = "alone"
"""The state of a process that uses the store without being one of the nodes of a hall."""

_BEAT = """
UPDATE {s}.nodes SET beat = clock_timestamp(), beats = beats + 1, name = %(name)s,
    machine = %(machine)s, socket = %(socket)s, address = %(address)s, url = %(url)s,
    state = CASE WHEN state = 'alone' THEN state ELSE %(state)s END,
    gatherings = %(gatherings)s, connections = %(connections)s
WHERE key = %(key)s AND state <> 'dead'
"""
_NODES = """
SELECT key, id, name, machine, socket, address, url, state, gatherings, connections,
    extract(epoch FROM clock_timestamp() - beat)::double precision, given
FROM {s}.nodes WHERE state <> 'dead'
"""


def register(
    connection: Connection, schema: str, node: Node, lease: float, state: str | None = None
) -> int:
    """Make a node's row; return its key.

    Args:
        connection: To the database.
        schema: The store's schema.
        node: The node.
        lease: How many seconds its beat may be old until others may declare it dead.
        state: Another state than the node says.
    """
    row = connection.execute(
        statement(
            "INSERT INTO {s}.nodes (key, id, name, machine, socket, address, url, state, lease)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET lease = excluded.lease RETURNING key",
            schema,
        ),
        (
            secrets.randbits(62),
            node.id,
            node.name,
            node.machine,
            node.socket,
            node.address,
            node.url,
            state or node.state,
            lease,
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def beat(connection: Connection, schema: str, key: int, node: Node) -> float | None:
    """Say that a node lives, and what it is.

    Returns:
        The database's time then, in seconds since 1970; None if it was declared dead.
    """
    row = connection.execute(
        statement(_BEAT + "RETURNING extract(epoch FROM beat)::double precision", schema),
        {
            "key": key,
            "name": node.name,
            "machine": node.machine,
            "socket": node.socket,
            "address": node.address,
            "url": node.url,
            "state": node.state,
            "gatherings": node.gatherings,
            "connections": node.connections,
        },
        binary=True,
    ).fetchone()
    return None if row is None else row[0]


def living(
    connection: Connection, schema: str, keys: Iterable[int] | None = None
) -> dict[int, Node]:
    """Return the nodes that aren't declared dead, by key.

    Those with these keys, or all that are nodes of a hall.
    """
    if keys is None:
        rows = connection.execute(
            statement(_NODES + "AND state <> 'alone'", schema), binary=True
        ).fetchall()
    else:
        rows = connection.execute(
            statement(_NODES + "AND key = ANY(%b::bigint[])", schema), (list(keys),), binary=True
        ).fetchall()
    return {row[0]: _node(*row[1:]) for row in rows}


def _node(
    node_id: str,
    name: str,
    machine: str,
    socket: str,
    address: str,
    url: str,
    state: str,
    gatherings: int,
    connections: int,
    beat_age: float,
    arrivals: int,
) -> Node:
    return Node(
        id=node_id,
        name=name,
        machine=machine,
        socket=socket,
        address=address,
        url=url,
        state=NodeState.DRAINING if state == ALONE else NodeState(state),
        gatherings=gatherings,
        connections=connections,
        beat_age=beat_age,
        arrivals=arrivals,
    )


def declare_dead(connection: Connection, schema: str, key: int, node_id: str | None = None) -> int:
    """Declare those dead whose beats are too old; return how many.

    Args:
        connection: To the database.
        schema: The store's schema.
        key: The key of the node that does so: it goes on with what they have left.
        node_id: The node that is meant; None for all.
    """
    with connection.transaction():
        dead = connection.execute(
            statement(
                "DELETE FROM {s}.nodes WHERE key <> %(key)s AND (%(id)s::text IS NULL"
                " OR id = %(id)s) AND (state = 'dead'"
                " OR clock_timestamp() - beat > make_interval(secs => lease))"
                " AND EXISTS (SELECT FROM {s}.nodes WHERE key = %(key)s AND state <> 'dead')",
                schema,
            ),
            {"key": key, "id": node_id},
        ).rowcount
        if dead:
            _has_heirs(connection, schema, key)
        return dead


def leave(connection: Connection, schema: str, key: int) -> None:
    """Delete a node's row: it owns nothing any more. Another one goes on with what it has left."""
    with connection.transaction():
        connection.execute(statement("DELETE FROM {s}.nodes WHERE key = %s", schema), (key,))
        row = connection.execute(
            statement("SELECT key FROM {s}.nodes WHERE state = 'up' LIMIT 1", schema)
        ).fetchone()
        if row is not None:
            _has_heirs(connection, schema, row[0])


def _has_heirs(connection: Connection, schema: str, key: int) -> None:
    """Tell a node that something is left to it."""
    connection.execute(
        statement("UPDATE {s}.nodes SET given = given + 1 WHERE key = %s", schema), (key,)
    )
