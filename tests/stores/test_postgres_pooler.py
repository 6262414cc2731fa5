"""The store in PostgreSQL behind PgBouncer: each transaction may be on another connection."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from time import monotonic, sleep

import psycopg
import pytest
import trio

from squire_gatherings._stores.postgres.store import PostgresStore, open_postgres_store
from squire_gatherings._values.errors import TakenAway
from squire_gatherings._values.events import EventKind
from tests.postgres import PATIENCE, SUPERUSER, Postgres, as_user, free_port
from tests.stores.appends import a_sleeper, an_event
from tests.stores.chained import Chain, ops_of, whole

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer isn't installed")

CONFIGURATION = """
[databases]
postgres = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
server_reset_query = DISCARD ALL
server_reset_query_always = 1
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooled(postgres: Postgres) -> Iterator[str]:
    """The URL of a new store behind a pooler that has two connections for all."""
    port = free_port()
    file = postgres.folder / f"pgbouncer-{port}.ini"
    users = file.with_suffix(".users")
    file.write_text(CONFIGURATION.format(server=postgres.port, port=port, users=users))
    users.write_text(f'"{SUPERUSER}" ""')
    assert PGBOUNCER is not None
    with (postgres.folder / "pgbouncer.log").open("ab") as log:
        process = subprocess.Popen(
            [*as_user(), PGBOUNCER, "--quiet", str(file)], stdout=log, stderr=log, cwd="/"
        )
    try:
        give_up_at = monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert monotonic() < give_up_at
                sleep(0.01)
        yield postgres.new_url().replace(f":{postgres.port}/", f":{port}/")
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def test_a_pooler_of_transactions_is_no_trouble(pooled: str) -> None:
    with psycopg.connect(pooled.partition("?")[0]) as database:
        # It is one: the process isn't the one that the connection was told of.
        found = database.execute("SELECT pg_backend_pid()").fetchone()
        assert found is not None
        assert found[0] != database.info.backend_pid
    chains = [Chain(f"room-{number}") for number in range(6)]

    async def live(store: PostgresStore, chain: Chain) -> None:
        for number in range(8):
            await store.append(chain.append(number % 3 + 1, snapshot=number % 4 == 3))
            restored = await store.load(chain.gathering, recent_syncs=2)
            assert (restored.seq, restored.head) == (chain.seq, chain.head)

    async with open_postgres_store(pooled) as one, open_postgres_store(pooled) as other:
        async with trio.open_nursery() as nursery:
            for number, chain in enumerate(chains):
                nursery.start_soon(live, one if number % 2 else other, chain)
        with pytest.raises(TakenAway):
            await one.load(chains[0].gathering, recent_syncs=1)
        for chain in chains:
            _, links, _ = await whole(one, chain.gathering)
            assert ops_of(links) == chain.ops
        await one.begin_events()
        await one.write_events([an_event(1, EventKind.OPENED)])
        await one.write_sleep(asleep=[a_sleeper(gathering="room-1", seq=chains[1].seq)], awake=[])
        assert len(await one.sleeping()) == 1
        await one.compact("room-1", up_to=chains[1].seq)
        assert await one.fork("room-1", "new", seq=chains[1].seq) == chains[1].seq
        assert await one.delete("room-1", time=1) is not None
