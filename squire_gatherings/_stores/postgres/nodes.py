"""The rows of nodes: a process says there that it lives. All calls are on a worker thread.

A node that is gone, or was declared dead, owns nothing, whatever the rows of gatherings say: so to
leave, or to be declared dead, is one row's change.
"""

import secrets

from squire_gatherings._stores.postgres.link import Connection
from squire_gatherings._stores.postgres.schema import statement
from squire_gatherings._values.nodes import Node

DEAD = "dead"


def register(connection: Connection, schema: str, node: Node, lease: float) -> int:
    """Make a node's row; return its key.

    Args:
        connection: To the database.
        schema: The store's schema.
        node: The node.
        lease: How many seconds its beat may be old until others may declare it dead.
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
            node.state,
            lease,
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def beat(connection: Connection, schema: str, key: int) -> bool:
    """Say that a node lives; return whether it isn't declared dead."""
    return (
        connection.execute(
            statement(
                "UPDATE {s}.nodes SET beat = clock_timestamp(), beats = beats + 1"
                " WHERE key = %s AND state <> 'dead'",
                schema,
            ),
            (key,),
        ).rowcount
        == 1
    )


def declare_dead(connection: Connection, schema: str) -> int:
    """Declare those dead whose beats are too old; return how many.

    A beat and this serialise on the node's row.
    """
    return connection.execute(
        statement(
            "UPDATE {s}.nodes SET state = 'dead' WHERE state <> 'dead'"
            " AND clock_timestamp() - beat > make_interval(secs => lease)",
            schema,
        )
    ).rowcount


def leave(connection: Connection, schema: str, key: int) -> None:
    """Delete a node's row: it owns nothing any more."""
    connection.execute(statement("DELETE FROM {s}.nodes WHERE key = %s", schema), (key,))
