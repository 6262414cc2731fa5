"""The rows of nodes: a process says there that it lives. All calls are on a worker thread.

A node that is gone, or dead, owns nothing, whatever the rows of gatherings say: so to leave, or to
be declared dead, is one row's change. A beat and that serialise on the row. The row goes once what
it has left is taken up.
"""

import secrets
from collections.abc import Iterable

from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.nodes import Node, NodeState

ALONE = "alone"
"""The state of a process that uses the store without being one of the nodes of a hall."""

_STATES = frozenset(NodeState)

_BEAT = """
UPDATE {s}.nodes SET beat = clock_timestamp(), beats = beats + 1, name = %(name)s,
    machine = %(machine)s, socket = %(socket)s, address = %(address)s, url = %(url)s,
    state = CASE WHEN state = 'alone' THEN state ELSE %(state)s END,
    gatherings = %(gatherings)s, connections = %(connections)s
WHERE key = %(key)s AND state <> 'dead'
"""
_NODES = """
SELECT key, id, name, machine, socket, address, url, state, gatherings, connections, beats,
    CASE WHEN state = 'dead' THEN 'infinity'
        ELSE extract(epoch FROM clock_timestamp() - beat)::double precision END, given
FROM {s}.nodes WHERE
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
    """Return nodes by key: those with these keys that live, or all that are nodes of a hall.

    Of the latter, those are dead whose beats are infinitely old.
    """
    if keys is None:
        rows = connection.execute(
            statement(_NODES + "state <> 'alone'", schema), binary=True
        ).fetchall()
    else:
        rows = connection.execute(
            statement(_NODES + "state <> 'dead' AND key = ANY(%b::bigint[])", schema),
            (list(keys),),
            binary=True,
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
    beats: int,
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
        state=NodeState(state) if state in _STATES else NodeState.DRAINING,
        gatherings=gatherings,
        connections=connections,
        beats=beats,
        beat_age=beat_age,
        arrivals=arrivals,
    )


def declare_dead(
    connection: Connection, schema: str, key: int, seen: Iterable[tuple[str, int]]
) -> int:
    """Declare nodes dead that have had no beat since; return how many are dead of these.

    Args:
        connection: To the database.
        schema: The store's schema.
        key: The key of the node that does so: it goes on with what they have left.
        seen: Their ids, and how many beats they had a lease ago or earlier.
    """
    ids, beats = zip(*seen, strict=True)
    with connection.transaction():
        dead = connection.execute(
            statement(
                "UPDATE {s}.nodes AS n SET state = 'dead'"
                " FROM unnest(%(ids)b::text[], %(beats)b::bigint[]) AS w (id, beats)"
                ' WHERE n.id = w.id COLLATE "C" AND n.key <> %(key)s'
                " AND (n.state = 'dead' OR n.beats = w.beats)"
                " AND EXISTS (SELECT FROM {s}.nodes WHERE key = %(key)s AND state <> 'dead')",
                schema,
            ),
            {"key": key, "ids": list(ids), "beats": list(beats)},
        ).rowcount
        if dead:
            _has_heirs(connection, schema, key)
        return dead


def dead(connection: Connection, schema: str) -> list[int]:
    """Return the keys of those that are dead, of which something may be left."""
    rows = connection.execute(statement("SELECT key FROM {s}.nodes WHERE state = 'dead'", schema))
    return [key for [key] in rows.fetchall()]


def forget(connection: Connection, schema: str, key: int) -> None:
    """Delete the row of a dead node: nothing is left of it."""
    connection.execute(
        statement("DELETE FROM {s}.nodes WHERE key = %s AND state = 'dead'", schema), (key,)
    )


def leave(connection: Connection, schema: str, key: int) -> None:
    """Have a node own nothing any more. Another one goes on with what it has left."""
    with connection.transaction():
        gone = connection.execute(
            statement(
                "DELETE FROM {s}.nodes WHERE key = %(key)s AND NOT EXISTS ("
                "SELECT FROM {s}.gatherings AS g WHERE g.owner = %(key)s"
                " AND (EXISTS (SELECT FROM {s}.sleepers AS s WHERE s.gathering = g.id)"
                " OR EXISTS (SELECT FROM {s}.incarnations AS i WHERE i.gathering = g.id)))",
                schema,
            ),
            {"key": key},
        ).rowcount
        if gone:
            return
        connection.execute(
            statement("UPDATE {s}.nodes SET state = 'dead' WHERE key = %s", schema), (key,)
        )
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
