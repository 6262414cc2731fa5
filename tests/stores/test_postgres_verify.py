"""`verify` of a database: what is as it was committed, and every value that isn't."""

import pytest
from msgspec.structs import replace

from squire_gatherings._stores.findings import Report
from squire_gatherings._stores.postgres.archive import LogsOfDatabase
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._stores.postgres.verify import verify, verify_logs
from squire_gatherings._values.errors import StoreUnavailable, StoreUnusable
from squire_gatherings._values.events import EventKind
from tests.postgres import Postgres
from tests.stores.appends import a_sleeper, an_event
from tests.stores.chained import Chain


@pytest.fixture
async def url(postgres: Postgres) -> str:
    """A store in which there is some of everything."""
    url = postgres.new_url()
    async with open_postgres_store(url) as store:
        for name in ("a", "cut"):
            chain = Chain(name)
            for number in range(4):
                await store.append(chain.append(2, snapshot=number % 2 == 1, later=5))
        await store.compact("cut", up_to=4)
        await store.fork("cut", "forked", seq=6)
        gone = Chain("gone")
        await store.append(gone.append())
        await store.delete("gone", time=7)
        again = Chain("gone", head=gone.head)
        await store.append(replace(again.append(), before=gone.head))
        await store.load("nothing", recent_syncs=1)
        await store.begin_events()
        await store.write_events([an_event(1, EventKind.OPENED), an_event(2)])
        await store.write_sleep(asleep=[a_sleeper(gathering="a", seq=8)], awake=[])
    return url


def found(url: str, *gatherings: str) -> list[str]:
    return said(verify(url, gatherings, lambda _, __: None))


def said(report: Report) -> list[str]:
    return [f"{one.gathering} {one.seq}: {one.what}" for one in report.wrong]


async def test_what_is_as_it_was_committed_is_proven(url: str) -> None:
    report = verify(url, (), lambda _, __: None)
    assert report.wrong == []
    assert [(one.gathering, one.seq) for one in report.proven] == [
        ("a", 8),
        ("cut", 8),
        ("forked", 6),
        ("gone", 1),
    ]
    assert report.ops == 8 + 4 + 2 + 1
    assert found(url, "nowhere") == ["nowhere None: there is no such gathering"]
    assert [one.gathering for one in verify(url, ("cut",), lambda _, __: None).proven] == ["cut"]


LOG = "WHERE gathering = (SELECT key FROM {s}.gatherings WHERE id = 'a')"
CUT = "WHERE gathering = (SELECT key FROM {s}.gatherings WHERE id = 'cut')"

CHANGES = [
    (f"UPDATE {{s}}.ops SET op = '{{{{}}}}' {LOG} AND seq = 3", "a 3: "),
    (f"UPDATE {{s}}.ops SET by = 'bob' {LOG} AND seq = 3", "a 3: "),
    (f"UPDATE {{s}}.ops SET by = NULL {LOG} AND seq = 8", "a 7: "),
    (f"UPDATE {{s}}.ops SET by = '\\xff' {LOG} AND seq = 8", "a 7: can't be read"),
    (f"UPDATE {{s}}.ops SET time = time + 1 {LOG} AND seq = 2", "a 1: "),
    (f"UPDATE {{s}}.ops SET time = time - 100 {LOG} AND seq > 6", "a 7: "),
    (f"UPDATE {{s}}.ops SET epoch = 'x' {LOG} AND seq = 5", "a 5: "),
    (f"UPDATE {{s}}.ops SET epoch = NULL {LOG}", "a 1: "),
    (f"UPDATE {{s}}.ops SET head = '\\x00' {LOG} AND seq = 4", "a 3: "),
    (f"UPDATE {{s}}.ops SET head = NULL {LOG} AND seq = 4", "a 3: "),
    (f"UPDATE {{s}}.ops SET head = NULL {LOG} AND seq = 8", "a 7: the log ends at 6"),
    (f"UPDATE {{s}}.ops SET name = 'b' {LOG} AND seq = 4", "a 3: "),
    (f"UPDATE {{s}}.ops SET seq = 9 {LOG} AND seq = 8", "a 7: "),
    (f"DELETE FROM {{s}}.ops {LOG} AND seq = 5", "a 5: "),
    (f"DELETE FROM {{s}}.ops {LOG} AND seq > 6", "a 7: "),
    ("UPDATE {s}.gatherings SET head = 7 WHERE id = 'a'", "a 7: "),
    ("UPDATE {s}.gatherings SET head = 9 WHERE id = 'a'", "a 9: "),
    ("UPDATE {s}.gatherings SET chain = '' WHERE id = 'a'", "a 9: "),
    ("UPDATE {s}.gatherings SET first_seq = 2 WHERE id = 'a'", "a 2: "),
    ("UPDATE {s}.gatherings SET before = '\\x00' WHERE id = 'a'", "a 1: the log's beginning"),
    ("UPDATE {s}.gatherings SET id = 'b' WHERE id = 'a'", "b 1: "),
    ("UPDATE {s}.gatherings SET time_before = '\\x00' WHERE id = 'cut'", "cut 5: the time"),
    ("UPDATE {s}.gatherings SET time_before = NULL WHERE id = 'cut'", "cut 5: the time"),
    (f"UPDATE {{s}}.syncs SET id = 'x' {LOG} AND first_seq = 3", "a 3: "),
    (f"UPDATE {{s}}.syncs SET scope = 'x' {LOG} AND first_seq = 3", "a 3: "),
    (f"UPDATE {{s}}.syncs SET count = 2 {LOG} AND first_seq = 4", "a 3: "),
    (f"UPDATE {{s}}.syncs SET fingerprint = 'x' {LOG} AND first_seq = 3", "a 3: "),
    (f"UPDATE {{s}}.syncs SET first_seq = 99 {LOG} AND first_seq = 3", "a 3: "),
    (f"DELETE FROM {{s}}.syncs {LOG} AND first_seq = 3", "a 3: "),
    ("INSERT INTO {s}.syncs SELECT key, 'x', 'x', 99, 1, '' FROM {s}.gatherings", "a 9: there is"),
    (f"UPDATE {{s}}.snapshots SET state = '1' {LOG} AND seq = 4", "a 3: the snapshot of op 4"),
    (f"UPDATE {{s}}.snapshots SET digest = '' {LOG} AND seq = 4", "a 3: the snapshot of op 4"),
    (f"UPDATE {{s}}.snapshots SET seq = 5 {LOG} AND seq = 4", "a 9: there is a snapshot of op 5"),
    (f"DELETE FROM {{s}}.snapshots {CUT}", "cut 9: there is no snapshot"),
    ("DELETE FROM {s}.gatherings WHERE id = 'a'", "None None: ops of a gathering"),
    ("UPDATE {s}.tombstones SET time = 8", "gone 1: its tombstone"),
    ("UPDATE {s}.tombstones SET head = '\\x00'", "gone 1: its tombstone"),
    ("UPDATE {s}.events SET event = '{{}}' WHERE number = 1", "None None: events 1: "),
    ("UPDATE {s}.events SET number = 7 WHERE number = 1", "None None: events 7: "),
    ("UPDATE {s}.incarnations SET id = 'other'", "None None: incarnations 'other': "),
    ("UPDATE {s}.sleepers SET state = '\\x00'", "None None: sleepers 'aa': "),
    ("UPDATE {s}.sleepers SET gathering = 'other'", "None None: sleepers 'aa': "),
]


async def test_every_value_that_was_changed_is_found(url: str, postgres: Postgres) -> None:
    schema = url.partition("schema=")[2]
    with postgres.connect() as database:
        for change, expected in CHANGES:
            with database.transaction(force_rollback=True):
                database.execute(change.format(s=schema).encode())
                report = verify_logs(LogsOfDatabase(database, schema), (), lambda _, __: None)
                wrong = said(report)
            assert any(one.startswith(expected) for one in wrong), (change, wrong)
    assert found(url) == []


async def test_what_is_no_store_is_refused(postgres: Postgres) -> None:
    with pytest.raises(StoreUnusable, match="has no schema nowhere"):
        found(postgres.url("nowhere"))
    with pytest.raises(StoreUnavailable, match="refused"):
        found("postgresql://postgres@127.0.0.1:1/postgres")
