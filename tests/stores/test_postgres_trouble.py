"""The store in PostgreSQL while its server is killed, stopped, full, too slow, or another one."""

import logging
import random
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

import psycopg
import pytest
import trio

from squire_gatherings._open_hall import open_hall
from squire_gatherings._stores.postgres.store import PostgresStore, open_postgres_store
from squire_gatherings._values.errors import (
    LogReplaced,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
)
from squire_gatherings._values.messages import Dispersed
from squire_gatherings.testing import Recorder
from tests.postgres import SUPERUSER, Postgres, a_server
from tests.stores.chained import Chain, ops_of, whole
from tests.support import examples

T = TypeVar("T")

PATIENCE = 60
"""How many seconds a store may need to go on after a trouble."""


@pytest.fixture(scope="module")
def fragile() -> Iterator[Postgres]:
    """A server that these tests may kill."""
    with a_server() as server:
        yield server


def schema_of(url: str) -> str:
    return url.partition("schema=")[2]


async def insisting(call: Callable[[], Awaitable[T]]) -> T:
    """Call again until the store is available."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await trio.sleep(0.01)
    raise AssertionError("unreachable")


@asynccontextmanager
async def a_store(server: Postgres, call_timeout: float = 10.0) -> AsyncIterator[PostgresStore]:
    async with open_postgres_store(server.new_url(), call_timeout=call_timeout) as store:
        yield store


async def commits(store: PostgresStore, number: int) -> None:
    """Return once there were so many group commits."""
    with trio.fail_after(PATIENCE):
        while store.commits < number:  # noqa: ASYNC110 - as a process beside it would ask
            await trio.sleep(0.005)


async def test_kills_at_random_lose_nothing_and_double_nothing(fragile: Postgres) -> None:
    dice = random.Random(20261128)
    chains = [Chain(f"room-{number}") for number in range(8)]
    is_over = False

    async def keep_appending(store: PostgresStore, chain: Chain) -> None:
        while not is_over:
            append = chain.append(dice.choice([1, 1, 1, 3]), snapshot=dice.random() < 0.1)
            # Until it is acknowledged, however often; then the next one must fit.
            await insisting(partial(store.append, append))

    def terminate() -> None:
        with fragile.connect() as database:
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'squire-gatherings'"
            )

    def crash() -> None:
        fragile.crash()
        fragile.start()

    async with a_store(fragile) as store:
        async with trio.open_nursery() as nursery:
            for chain in chains:
                nursery.start_soon(keep_appending, store, chain)
            for _ in range(examples(6)):
                before = store.commits
                trouble = dice.choice([terminate, terminate, crash, fragile.restart])
                await commits(store, before + 5)
                await trio.sleep(dice.random() / 50)
                await trio.to_thread.run_sync(trouble)
            is_over = True
        assert store.lost_commits == 0
        for chain in chains:
            info, links, _ = await insisting(partial(whole, store, chain.gathering))
            assert (info.seq, info.head) == (chain.seq, chain.head)
            assert ops_of(links) == chain.ops


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    """Stop all of the server's processes, as a machine would that swaps or is paused."""
    with server.connect() as database:
        pids = [pid for [pid] in database.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        own = database.info.backend_pid
    everybody = [pid for pid in pids if pid != own] + [server.pid]
    for pid in everybody:
        server.signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everybody:
            server.signal(pid, signal.SIGCONT)


async def test_a_server_that_is_stopped_makes_nobody_wait_for_ever(fragile: Postgres) -> None:
    async with a_store(fragile, call_timeout=0.2) as store:
        chain = Chain("a")
        await store.append(chain.append())
        # So that a connection to read is there, too.
        await store.size("a")
        with stopped(fragile), trio.fail_after(PATIENCE):
            late = chain.append()
            with pytest.raises(StoreUnavailable):
                await store.append(late)
            with pytest.raises(StoreUnavailable):
                await store.size("a")
        await insisting(partial(store.append, late))
        await insisting(partial(store.append, chain.append()))
        assert (await insisting(lambda: store.load("a", recent_syncs=1))).seq == 3


async def test_lost_commits_are_noticed_and_said(
    fragile: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_store(fragile) as store:
        kept, lost, new = Chain("kept"), Chain("lost"), Chain("new")
        await store.append(kept.append(2))
        await store.append(lost.append(2))
        with goes_back(fragile):
            for chain in (lost, new):
                await insisting(partial(store.append, chain.append()))
            changes = await insisting(store.changes)
        with caplog.at_level(logging.ERROR):
            # Whoever writes first finds it out.
            await insisting(partial(store.append, kept.append()))
        errors = [one.message for one in caplog.records if one.levelno >= logging.ERROR]
        assert errors == ["the database has lost commits that were acknowledged"]
        assert store.lost_commits == 2
        # By this, halls look at what they have open.
        assert await store.changes() != changes
        assert not await store.has_log("lost", first_seq=1, seq=3, head=lost.head)
        assert await store.has_log("kept", first_seq=1, seq=3, head=kept.head)
        for chain in (lost, new):
            with pytest.raises(StoreConflict):
                await store.append(chain.append())
        assert (await store.load("lost", recent_syncs=1)).seq == 2


async def test_a_hall_ends_what_the_database_has_lost(fragile: Postgres) -> None:
    async with a_store(fragile) as store, open_hall(store=store) as hall:
        there, gone = Recorder(), Recorder()
        for room, client in (("kept", there), ("lost", gone)):
            epoch = (await hall.join(room, client, client=room)).incarnation
            await hall.submit(room, [{"n": 1}])
        with goes_back(fragile):
            await insisting(partial(hall.submit, "lost", [{"n": 2}]))
        # Whoever asks the database next finds it out; `serve` looks every two seconds.
        await insisting(partial(hall.submit, "kept", [{"n": 2}]))
        assert await insisting(hall.logs.look) == ("lost",)
        with trio.fail_after(PATIENCE):
            await gone.wait_closed()
        assert [notice.reason for notice in gone.of(Dispersed)] == ["admin"]
        assert not there.closed
        with pytest.raises(LogReplaced):
            await hall.join("lost", Recorder(), since=2, epoch=epoch)
        assert await hall.submit("lost", [{"n": 3}]) == (2,)


@contextmanager
def goes_back(server: Postgres) -> Iterator[None]:
    """Let the server lose what is written in the block, as one that was restored has."""
    older = server.folder / "older"
    server.stop()
    shutil.copytree(server.data, older)
    server.start()
    yield
    server.stop()
    shutil.rmtree(server.data)
    shutil.move(older, server.data)
    server.own()
    server.start()


@contextmanager
def read_only(database: psycopg.Connection, _: str) -> Iterator[None]:
    database.execute("ALTER ROLE app SET default_transaction_read_only = on")
    end_connections(database)
    yield
    database.execute("ALTER ROLE app RESET default_transaction_read_only")


@contextmanager
def full(database: psycopg.Connection, schema: str) -> Iterator[None]:
    database.execute(
        f"CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    )
    database.execute(
        f"CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.ops EXECUTE FUNCTION {schema}.fail()"
    )
    yield
    database.execute(f"DROP FUNCTION {schema}.fail CASCADE")


@contextmanager
def slow(database: psycopg.Connection, schema: str) -> Iterator[None]:
    database.execute("ALTER ROLE app SET statement_timeout = '50ms'")
    end_connections(database)
    with database.transaction():
        database.execute(f"LOCK TABLE {schema}.gatherings")
        yield
    database.execute("ALTER ROLE app RESET statement_timeout")


@contextmanager
def no_rights(database: psycopg.Connection, schema: str) -> Iterator[None]:
    database.execute(f"REVOKE ALL ON {schema}.ops FROM app")
    yield
    database.execute(f"GRANT ALL ON {schema}.ops TO app")


def end_connections(database: psycopg.Connection, user: str = "app") -> None:
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = %s AND pid <> pg_backend_pid()",
        (user,),
    )


@pytest.mark.parametrize("trouble", [read_only, full, slow, no_rights])
async def test_what_the_database_cannot_do_now_is_done_later(
    postgres: Postgres,
    trouble: Callable[[psycopg.Connection, str], object],
) -> None:
    with postgres.connect() as database:
        if database.execute("SELECT 1 FROM pg_roles WHERE rolname = 'app'").fetchone() is None:
            database.execute("CREATE ROLE app LOGIN")
            database.execute("GRANT CREATE ON DATABASE postgres TO app")
        url = postgres.new_url(user="app")
        async with open_postgres_store(url) as store:
            chain = Chain("a")
            await store.append(chain.append())
            late = chain.append()
            with trouble(database, schema_of(url)):  # type: ignore[attr-defined]
                for _ in range(3):
                    with pytest.raises(StoreUnavailable):
                        await store.append(late)
            await insisting(partial(store.append, late))
            assert (await insisting(lambda: store.load("a", recent_syncs=1))).seq == 2


async def test_a_connection_that_was_ended_while_it_was_idle_is_no_trouble(
    fragile: Postgres,
) -> None:
    """As after a restart of the server, or where it ends what is idle for long."""
    async with a_store(fragile) as store:
        chain = Chain("a")
        await store.append(chain.append())
        assert await store.size("a")
        fragile.restart()
        await store.append(chain.append())
        assert await store.size("a")
        assert (await store.load("a", recent_syncs=1)).seq == 2
        with fragile.connect() as database:
            end_connections(database, SUPERUSER)
        assert (await store.load("a", recent_syncs=1)).seq == 2
        await store.write_sleep(asleep=[], awake=["nobody"])
        await store.append(chain.append())


async def test_a_database_that_promises_too_much_is_refused(postgres: Postgres) -> None:
    url = postgres.new_url(options="-csynchronous_commit%3Doff")
    with pytest.raises(StoreUnusable, match="synchronous_commit is off"):
        async with open_postgres_store(url):
            pass


async def test_an_error_of_connecting_has_no_password(postgres: Postgres) -> None:
    for url in (
        "postgresql://me:s3cret@127.0.0.1:1/db",
        f"postgresql://nobody:s3cret@127.0.0.1:{postgres.port}/postgres",
        f"postgresql://postgres:s3cret@127.0.0.1:{postgres.port}/nowhere",
        "postgresql://me:s3cret@/db?host=/nowhere",
    ):
        with pytest.raises(StoreUnavailable) as error:
            async with open_postgres_store(url):
                pass
        assert "s3cret" not in str(error.value)
        assert "\n" not in str(error.value)
