"""Claims in PostgreSQL that are made at the same moment."""

import threading
from collections.abc import Callable

import psycopg
import trio

from squire_gatherings._stores.postgres import nodes
from squire_gatherings._stores.postgres.claims import Claims
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._values.nodes import Node
from tests.postgres import Postgres
from tests.stores.appends import an_append


def _node(connection: psycopg.Connection, schema: str, name: str) -> Claims:
    node = Node(id=name, name=name)
    return Claims(schema, nodes.register(connection, schema, node, 5.0))


async def _waits_for_a_lock(database: psycopg.Connection) -> None:
    """Return once another connection to the server waits for a lock."""
    waiting: Callable[[], object] = lambda: database.execute(  # noqa: E731
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    ).fetchone()
    while waiting() is None:
        await trio.lowlevel.checkpoint()


async def test_nothing_is_taken_from_a_node_that_came_while_a_claim_waited(
    postgres: Postgres,
) -> None:
    """It isn't in what the statement sees: not so what it has taken since."""
    url = postgres.new_url()
    schema = url.partition("schema=")[2]
    async with open_postgres_store(url) as gone:
        await gone.append(an_append("a", 1))
    with postgres.connect() as late, postgres.connect() as early, postgres.connect() as watching:
        third = _node(early, schema, "third")
        owners: dict[str, int | None] = {}

        def claim() -> None:
            owners.update(third.claim(early, ["a"]))

        thread = threading.Thread(target=claim)
        with late.transaction():
            late.execute(f"SELECT FROM {schema}.gatherings WHERE id = 'a' FOR UPDATE")
            thread.start()
            with trio.fail_after(20):
                await _waits_for_a_lock(watching)
            second = _node(late, schema, "second")
            assert second.claim(late, ["a"]) == {"a": second.node}
        await trio.to_thread.run_sync(thread.join)
        assert owners == {"a": second.node}
