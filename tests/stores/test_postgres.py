"""The store in PostgreSQL: its URL, its schema, and the fence between nodes."""

from typing import Any

import psycopg
import pytest
import trio
from msgspec.structs import replace

from squire_gatherings._stores.postgres import batch, writer
from squire_gatherings._stores.postgres.address import Address
from squire_gatherings._stores.postgres.alone import append_alone
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._values.errors import BadSetting, StoreUnavailable, StoreUnusable, TakenAway
from squire_gatherings._values.log import Append
from tests.postgres import Postgres
from tests.stores.appends import an_append
from tests.stores.chained import Chain, ops_of, whole


async def test_what_was_taken_away_takes_no_append(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_postgres_store(url) as one, open_postgres_store(url) as other:
        await one.append(an_append("a", 1))
        await one.append(an_append("b", 1))
        with pytest.raises(TakenAway):
            await other.load("a", recent_syncs=1)
        with pytest.raises(TakenAway):
            await other.append(an_append("a", 2))
        with postgres.connect() as database:
            database.execute(f"UPDATE {url.partition('schema=')[2]}.nodes SET state = 'dead'")
            # The other one is to live on.
            database.execute(
                f"UPDATE {url.partition('schema=')[2]}.nodes SET state = 'up' WHERE key = %s",
                (other._claims.node,),
            )
        assert (await other.load("a", recent_syncs=1)).seq == 1
        with pytest.raises(TakenAway):
            await one.append(an_append("a", 2))
        await other.append(an_append("a", 2))
        # An append that is there already is durable, whoever asks.
        await one.append(an_append("a", 2))
        assert (await other.load("a", recent_syncs=1)).seq == 2


async def test_a_node_that_left_owns_nothing(postgres: Postgres) -> None:
    url = postgres.new_url()
    async with open_postgres_store(url) as one:
        await one.append(an_append("a", 1))
    async with open_postgres_store(url) as other:
        assert (await other.load("a", recent_syncs=1)).seq == 1
        await other.append(an_append("a", 2))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:secret@host:5433/db", "postgresql://host:5433/db"),
        ("postgres://me@host/db?schema=rooms", "postgresql://host/db?schema=rooms"),
        ("postgresql://me@a:1,b:2/db?password=secret&schema=x", "postgresql://a:1,b:2/db?schema=x"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///run/postgresql/db"),
        ("postgresql://me:se%40cret@[::1]/db?sslmode=verify-full", "postgresql://[::1]/db"),
    ],
)
def test_a_name_has_no_secrets(url: str, name: str) -> None:
    address = Address.parse(url)
    assert address.name == name
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:sec/ret@host/db",
        "postgresql://me:12/secret@host/db",
        "postgresql://me:secret%zz@host/db",
        "postgresql://host/db?passwort=secret",
        "postgresql://host/db?schema=public",
        "postgresql://host/db?schema=pg_secret",
        "postgresql://host/db\0",
    ],
)
def test_a_wrong_url_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Address.parse(url)
    assert "sec" not in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_another_programs_schema_is_refused(postgres: Postgres) -> None:
    url = postgres.new_url()
    schema = url.partition("schema=")[2]
    with postgres.connect() as database:
        database.execute(f"CREATE SCHEMA {schema}")
    async with open_postgres_store(url) as store:
        await store.append(an_append("a", 1))
    with postgres.connect() as database:
        database.execute(f"UPDATE {schema}.about SET version = 99")
    with pytest.raises(StoreUnusable, match="version 99, this program knows up to"):
        async with open_postgres_store(url):
            pass
    with postgres.connect() as database:
        database.execute(f"UPDATE {schema}.about SET program = 'other'")
    with pytest.raises(StoreUnusable, match="another program's"):
        async with open_postgres_store(url):
            pass


async def test_several_that_begin_at_once_make_one_schema(postgres: Postgres) -> None:
    url = postgres.new_url()
    everybody_is_in = trio.Event()
    inside = 0

    async def begin() -> None:
        nonlocal inside
        async with open_postgres_store(url):
            inside += 1
            if inside == 4:
                everybody_is_in.set()
            await everybody_is_in.wait()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(begin)


async def test_a_schema_that_vanished_is_not_made_anew(postgres: Postgres) -> None:
    """A log that is gone mustn't pass for an empty one."""
    url = postgres.new_url()
    async with open_postgres_store(url) as store:
        await store.append(an_append("a", 1))
        with postgres.connect() as database:
            database.execute(f"DROP SCHEMA {url.partition('schema=')[2]} CASCADE")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.append(an_append("a", 2))
            with pytest.raises(StoreUnavailable):
                await store.load("a", recent_syncs=1)
            # The pause after a failure to connect is over.
            await trio.sleep(0.2)
    with postgres.connect() as database:
        assert not database.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = %s", (url.partition("schema=")[2],)
        ).fetchall()


async def test_a_batch_that_is_large_is_written_in_parts(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_BYTES", 3000)
    async with open_postgres_store(postgres.new_url()) as store:
        chains = [Chain(f"room-{number}") for number in range(20)]

        async def live(chain: Chain) -> None:
            for number in range(5):
                await store.append(chain.append(number + 1))

        async with trio.open_nursery() as nursery:
            for chain in chains:
                nursery.start_soon(live, chain)
        for chain in chains:
            _, links, _ = await whole(store, chain.gathering)
            assert ops_of(links) == chain.ops


async def test_a_damaged_row_is_its_own_gatherings_trouble(postgres: Postgres) -> None:
    url = postgres.new_url()
    schema = url.partition("schema=")[2]
    async with open_postgres_store(url) as store:
        await store.append(an_append("a", 1))
        await store.append(an_append("b", 1))
    with postgres.connect() as database:
        database.execute(
            f"UPDATE {schema}.ops SET epoch = '\\xff', by = '\\xff' WHERE gathering ="
            f" (SELECT key FROM {schema}.gatherings WHERE id = 'a')"
        )
    async with open_postgres_store(url) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="damaged"):
                await store.load("a", recent_syncs=1)
            with pytest.raises(StoreUnavailable, match="damaged"):
                await store.read("a", after=0, up_to=1, max_bytes=100)
        assert (await store.load("b", recent_syncs=1)).seq == 1
        await store.append(an_append("b", 2))


def after(chain: Chain) -> Append:
    """Make the next append as a hall does, which knows the head before it."""
    before = chain.head
    return replace(chain.append(2), before=before)


async def test_what_was_committed_when_the_connection_broke_is_found_at_once(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look tells of all: a thousand looks would take seconds in which nobody commits."""
    written, alone = batch.Batch.write, list[str]()
    is_broken = True

    def broken(self: batch.Batch, *arguments: Any) -> set[int]:
        found = written(self, *arguments)
        if is_broken and found:
            raise psycopg.OperationalError("the connection is lost")
        return found

    def noted(*arguments: Any) -> Any:
        alone.append(arguments[2].gathering)
        return append_alone(*arguments)

    monkeypatch.setattr(batch.Batch, "write", broken)
    monkeypatch.setattr(writer, "append_alone", noted)
    async with open_postgres_store(postgres.new_url()) as store:
        chains = [Chain(f"room-{number}") for number in range(30)]
        appends = [after(chain) for chain in chains]
        unknown = 0

        async def append(one: Append) -> None:
            nonlocal unknown
            try:
                await store.append(one)
            except StoreUnavailable:
                unknown += 1

        async def append_all() -> None:
            async with trio.open_nursery() as nursery:
                for one in appends:
                    nursery.start_soon(append, one)

        await append_all()
        assert unknown == 30
        is_broken = False
        await append_all()
        assert (unknown, alone) == (30, [])
        appends = [after(chain) for chain in chains]
        await append_all()
        assert (unknown, alone) == (30, [])
        for chain in chains:
            _, links, _ = await whole(store, chain.gathering)
            assert ops_of(links) == chain.ops
