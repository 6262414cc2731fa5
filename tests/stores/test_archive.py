"""Whole logs: described, copied, forked, compacted and deleted, by each store alike."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from squire_gatherings._hall.archive import Archive
from squire_gatherings._rules.links import checked
from squire_gatherings._rules.thinning import NEWEST, OPS
from squire_gatherings._stores import MemoryStore, open_sqlite_store
from squire_gatherings._stores.findings import Report
from squire_gatherings._stores.postgres.store import open_postgres_store
from squire_gatherings._stores.postgres.verify import verify as verify_database
from squire_gatherings._stores.sqlite.verify import verify
from squire_gatherings._values.archive import LogCopy
from squire_gatherings._values.errors import (
    BadBase,
    GatheringsError,
    LogDeleted,
    StoreConflict,
)
from tests.postgres import Postgres
from tests.stores.appends import crashed_copy
from tests.stores.chained import Chain, ops_of, whole
from tests.support import examples

SMALL_JOURNAL = 800


@pytest.fixture(params=["memory", "sqlite", "sqlite, no journal", "postgres"])
async def store(request: Any, tmp_path: Path) -> AsyncIterator[Archive]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "postgres":
        async with open_postgres_store(request.getfixturevalue("postgres").new_url()) as database:
            yield database
        return
    size = 0 if "no journal" in request.param else 1 << 22
    async with open_sqlite_store(tmp_path / "rooms.sqlite3", journal_bytes=size) as opened:
        yield opened


async def a_log(store: Archive, name: str = "a", *counts: int) -> Chain:
    """Make a log; every second append has a snapshot."""
    chain = Chain(name)
    for number, count in enumerate(counts or (2, 3, 1, 4)):
        await store.append(chain.append(count, snapshot=number % 2 == 1, later=10))
    return chain


async def test_describe_and_list_logs(store: Archive) -> None:
    assert await store.describe("a") is None
    chain = await a_log(store)
    await a_log(store, "b", 1)
    await store.delete("b", time=7)
    info = await store.describe("a")
    assert info is not None
    assert (info.first_seq, info.seq, info.first_time, info.last_time) == (1, 10, 1010, 1040)
    assert (info.snapshots, info.syncs, info.head, info.before) == ((5, 10), 7, chain.head, b"")
    assert info.size == sum(len(one.json) for one in chain.ops)
    listed = await store.list_logs()
    assert [one.gathering for one in listed] == ["a", "b"]
    assert listed[0] == info
    assert listed[1].is_deleted
    assert listed[1].tombstone is not None
    assert (listed[1].tombstone.seq, listed[1].tombstone.time) == (1, 7)
    assert [one.gathering for one in await store.list_logs(after="a", limit=1)] == ["b"]
    assert await store.list_logs(after="b") == ()


async def test_the_links_prove_the_log(store: Archive) -> None:
    chain = await a_log(store)
    _, links, older = await whole(store, "a")
    assert older == ()
    assert [link.first_seq for link in links] == [1, 3, 6, 7]
    assert tuple(checked(links, 1, b"")) == links
    assert ops_of(links) == chain.ops


async def test_a_point_in_time(store: Archive) -> None:
    await a_log(store)
    for seq, expected in ((0, None), (4, None), (5, 5), (9, 5), (10, 10), (99, 10)):
        found = await store.snapshot_at("a", seq=seq)
        assert (None if found is None else found.seq) == expected
    for time, seq in ((0, 0), (1009, 0), (1010, 2), (1025, 5), (1030, 6), (1040, 10), (9**9, 10)):
        assert await store.seq_at("a", time=time) == seq
    assert await store.snapshot_at("?", seq=9) is None
    assert await store.seq_at("?", time=9) == 0


async def test_a_new_log_goes_on_with_the_chain_of_the_deleted_one(store: Archive) -> None:
    old = await a_log(store)
    tombstone = await store.delete("a", time=99)
    assert tombstone is not None
    assert (tombstone.seq, tombstone.head) == (10, old.head)
    assert await store.delete("a", time=99) is None
    restored = await store.load("a", recent_syncs=9)
    assert (restored.seq, restored.ops, restored.snapshot, restored.recent) == (0, (), None, ())
    assert restored.head == old.head
    assert await store.find_syncs("a", (("0::", "s1.1"),)) == {}
    # An append is refused both at the old log's end and at a new log's beginning.
    for append in (old.append(), Chain("a").append(3)):
        with pytest.raises(LogDeleted):
            await store.append(append)
    new = Chain("a", head=restored.head)
    for count in (3, 2):
        await store.append(new.append(count))
    info, links, _ = await whole(store, "a")
    assert (info.before, info.seq, info.tombstone, info.is_deleted) == (
        tombstone.head,
        5,
        tombstone,
        False,
    )
    assert ops_of(links) == new.ops
    assert tuple(checked(links, 1, tombstone.head)) == links
    # An incarnation of the old log, which has as many ops as the new log.
    stale = Chain("a")
    stale.append(3), stale.append(2)
    # The store behaves as if another program had begun the new log: it forgets the log's end.
    await store.compact("a", up_to=0)
    with pytest.raises(LogDeleted):
        await store.append(stale.append())
    await store.append(new.append())
    again = await store.delete("a", time=100)
    assert again is not None
    assert again.head == new.head


async def test_compaction_leaves_what_came_after_a_snapshot(store: Archive) -> None:
    chain = await a_log(store)
    assert await store.compact("a", up_to=4) == 1
    assert await store.compact("a", up_to=9) == 6
    assert await store.compact("a", up_to=9) == 6
    info, links, older = await whole(store, "a")
    assert (info.first_seq, info.seq, info.snapshots, info.syncs) == (6, 10, (5, 10), 7)
    assert info.epoch_before == "e1"
    assert tuple(checked(links, 6, info.before)) == links
    assert (links[0].ops, links[0].snapshot is not None) == ((), True)
    assert ops_of(links) == chain.ops[5:]
    assert [one.first_seq for one in older] == [1, 2, 3, 4]
    restored = await store.load("a", recent_syncs=99)
    assert (restored.first_seq, restored.seq, restored.head) == (6, 10, chain.head)
    assert len(restored.recent) == 7
    assert await store.read("a", after=5, up_to=7, max_bytes=999) == tuple(chain.ops[5:7])
    assert await store.read("a", after=3, up_to=7, max_bytes=999) == ()
    # Each op has its epoch.
    assert await store.read("a", after=5, up_to=10, max_bytes=999) == tuple(chain.ops[5:])
    # Those that are left have other seqs.
    for after in range(5):
        assert await store.read("a", after=after, up_to=10, max_bytes=999) == ()
    await store.append(chain.append(2))
    # No sync that was left out is applied again.
    assert list(await store.find_syncs("a", (("0::", "s1.1"),))) == [("0::", "s1.1")]
    assert await store.compact("a", up_to=10, forget_syncs=True) == 11
    assert await store.find_syncs("a", (("0::", "s1.1"), ("0::", "s4.8"))) == {}
    assert await store.read("a", after=10, up_to=99, max_bytes=999) == tuple(chain.ops[10:])
    with pytest.raises(StoreConflict, match="there is no gathering"):
        await store.compact("?", up_to=3)


async def test_compaction_up_to_a_state_that_is_given(store: Archive) -> None:
    chain = await a_log(store)
    assert await store.end_of_append("a", seq=8) == 6
    with pytest.raises(StoreConflict, match="no append"):
        await store.compact("a", up_to=8, state=b"8")
    assert await store.compact("a", up_to=6, state=b"6") == 7
    info, links, _ = await whole(store, "a")
    assert tuple(checked(links, 7, info.before)) == links
    assert links[0].snapshot is not None
    assert (links[0].snapshot.seq, links[0].snapshot.state) == (6, b"6")
    assert ops_of(links) == chain.ops[6:]
    # The whole log is left out.
    assert await store.compact("a", up_to=10) == 11
    restored = await store.load("a", recent_syncs=1)
    assert (restored.seq, restored.ops, restored.head) == (10, (), chain.head)
    assert (restored.epoch, restored.first_seq) == ("e2", 11)
    # Times never go back, also where the last one was left out.
    assert chain.ops[-1].time > 0
    assert restored.time == chain.ops[-1].time
    await store.fork("a", "b", seq=10)
    assert (await store.load("b", recent_syncs=1)).time == restored.time
    info = await store.describe("b")
    assert info is not None
    assert info.last_time == info.time_before == restored.time
    await store.append(chain.append())


@pytest.mark.parametrize("seq", [1, 5, 7, 9, 10])
async def test_a_fork_keeps_the_chain(store: Archive, seq: int) -> None:
    chain = await a_log(store)
    _, links, _ = await whole(store, "a")
    assert await store.fork("a", "b", seq=seq) == seq
    info, forked, _ = await whole(store, "b")
    assert ops_of(forked) == chain.ops[:seq]
    assert tuple(checked(forked, 1, b"")) == forked
    full = [link for link in links if link.first_seq + len(link.ops) - 1 <= seq]
    assert list(forked[: len(full)]) == full
    assert {link.gathering for link in forked[len(full) :]} <= {"b"}
    # A sync that the fork cuts was never applied there.
    there = {s.id for link in forked for s in link.syncs}
    expected = {s.id for link in links for s in link.syncs if s.first_seq + s.count - 1 <= seq}
    assert there == expected
    # Both logs go on, each by itself.
    await store.append(chain.append())
    mine = Chain("b", seq, info.head, 2000, made=50)
    await store.append(mine.append(2))
    _, forked, _ = await whole(store, "b")
    assert tuple(checked(forked, 1, b"")) == forked
    for new, at, error in (("b", 3, StoreConflict), ("c", 0, BadBase), ("c", 99, BadBase)):
        with pytest.raises(error):
            await store.fork("a", new, seq=at)
    with pytest.raises(StoreConflict):
        await store.fork("?", "c", seq=1)


async def test_a_log_goes_from_store_to_store(store: Archive) -> None:
    await a_log(store)
    await store.fork("a", "b", seq=7)
    await store.compact("b", up_to=6)
    other = MemoryStore()
    for name in "ab":
        info, links, older = await whole(store, name)
        copy = LogCopy(
            gathering=name,
            first_seq=info.first_seq,
            before=info.before,
            epoch_before=info.epoch_before,
            time_before=info.time_before,
            older_syncs=older,
            links=links,
        )
        assert await other.adopt(copy) == info.seq
        assert await whole(other, name) == (info, links, older)
        with pytest.raises(StoreConflict, match="already"):
            await store.adopt(copy)


async def test_a_copy_that_was_changed_is_refused_as_a_whole(store: Archive) -> None:
    await a_log(store)
    info, links, _ = await whole(store, "a")
    ops = links[2].ops
    wrong = (
        (links[0], *links[2:]),
        (*links[:2], replace(links[2], ops=(replace(ops[0], by="bob"), *ops[1:])), links[3]),
        (*links[:2], replace(links[2], syncs=()), links[3]),
        (*links[:2], replace(links[2], gathering="b"), links[3]),
        (*links[:3], replace(links[3], snapshot=replace_state(links[3].snapshot))),
        (*links[:3], replace(links[3], ops=links[3].ops[:-1])),
        (),
    )
    for changed in wrong:
        with pytest.raises(StoreConflict):
            await store.adopt(LogCopy(gathering="c", links=changed))
        assert await store.describe("c") is None

    def breaks() -> Any:
        yield from links[:2]
        raise ValueError("the file is cut")

    with pytest.raises(ValueError, match="cut"):
        await store.adopt(LogCopy(gathering="c", links=breaks()))
    assert await store.describe("c") is None
    assert await store.adopt(LogCopy(gathering="c", links=links)) == info.seq


def replace_state(snapshot: Any) -> Any:
    return type(snapshot)(snapshot.seq, b"{}", snapshot.digest)


async def test_snapshots_are_thinned_out(store: Archive) -> None:
    chain = Chain("a")
    step, count = 500, 30
    for _ in range(count):
        await store.append(chain.append(step, snapshot=True))
    info = await store.describe("a")
    assert info is not None
    kept = info.snapshots
    assert kept[-NEWEST:] == tuple(range(step * (count - NEWEST + 1), step * count + 1, step))
    assert max(after - before for before, after in zip((0, *kept), kept, strict=False)) == OPS
    # No two neighbouring gaps could be joined into one.
    older = (0, *kept[: -NEWEST + 1])
    assert all(c - a > OPS for a, c in zip(older, older[2:], strict=False))


async def test_a_file_of_schema_4_has_all_of_this(tmp_path: Path) -> None:
    path = tmp_path / "rooms.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("schema4.sql").read_text())
    async with open_sqlite_store(path) as store:
        info, links, _ = await whole(store, "friday")
        assert (info.first_seq, info.seq, info.snapshots, info.first_time) == (1, 5, (3,), 0)
        assert tuple(checked(links, 1, b"")) == links
        # None of its ops has a time.
        assert await store.seq_at("friday", time=0) == 5
        assert await store.fork("friday", "forked", seq=4) == 4
        assert await store.compact("friday", up_to=4) == 4
        assert await store.delete("monday", time=9) is not None
        await store.erase()
        assert [(one.gathering, one.first_seq, one.seq) for one in await store.list_logs()] == [
            ("forked", 1, 4),
            ("friday", 4, 5),
            ("monday", 1, 0),
            ("sunday", 1, 1),
        ]
    report = await trio.to_thread.run_sync(lambda: verify(path, (), lambda *_: None))
    assert not report.wrong


# Random histories of both stores, and of a plain model.

NAMES = st.sampled_from("abc")


class Stores(RuleBasedStateMachine):
    """The same calls to both stores have the same outcome, and the ops are those of a list."""

    @initialize()
    def begin(self) -> None:
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "rooms.sqlite3"
        self.memory = MemoryStore()
        self.chains: dict[str, Chain] = {}
        self.left: dict[str, list[Any]] = {}
        self.stale: list[Chain] = []
        self.made = 0

    def teardown(self) -> None:
        self.directory.cleanup()

    def opened(self) -> AbstractAsyncContextManager[Archive]:
        """Open the store that isn't in memory."""
        return open_sqlite_store(self.path, journal_bytes=SMALL_JOURNAL)

    def verified(self) -> Report:
        """Verify it."""
        return verify(self.path, (), lambda *_: None)

    def both(self, call: Any) -> Any:
        """Call both, each on a store that is opened for this; return the outcome."""

        async def outcome(store: Archive) -> Any:
            try:
                return await call(store)
            except GatheringsError as error:
                return type(error)

        logs: dict[str, int] = {}

        async def main() -> Any:
            async with AsyncExitStack() as stack:
                disk = await stack.enter_async_context(self.opened())
                expected = await outcome(self.memory)
                found = await outcome(disk)
                assert found == expected
                for name in "abc":
                    said = await whole(self.memory, name)
                    assert await whole(disk, name) == said
                    assert (await disk.load(name, recent_syncs=3)) == (
                        await self.memory.load(name, recent_syncs=3)
                    )
                    info, links, _ = said
                    if info is not None and info.seq:
                        logs[name] = info.seq
                    if links:
                        assert tuple(checked(links, info.first_seq, info.before)) == links
                    assert ops_of(links) == self.left.get(name, [])
            report = self.verified()
            assert not report.wrong
            assert {one.gathering: one.seq for one in report.proven} == logs
            return found

        return trio.run(main)

    @rule(
        name=NAMES, counts=st.lists(st.integers(1, 6), min_size=1, max_size=3), kept=st.booleans()
    )
    def append(self, name: str, counts: list[int], kept: bool) -> None:
        async def call(store: Archive) -> None:
            for append in appends:
                await store.append(append)

        if name not in self.chains:
            head = trio.run(lambda: self.memory.load(name, recent_syncs=1)).head
            self.chains[name] = Chain(name, head=head, made=self.made)
        chain = self.chains[name]
        appends = [chain.append(count, snapshot=kept, later=3) for count in counts]
        self.made = max(self.made, chain.made)
        self.left.setdefault(name, []).extend(one for append in appends for one in append.ops)
        assert self.both(call) is None

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.left.pop(name, None)
        chain = self.chains.pop(name, None)
        if chain is not None:
            self.stale.append(chain)
        found = self.both(lambda store: store.delete(name, time=5))
        assert (found is not None) == (chain is not None)

    @rule(count=st.integers(1, 3))
    def append_to_what_was_deleted(self, count: int) -> None:
        if self.stale:
            append = self.stale.pop().append(count)
            assert issubclass(self.both(lambda store: store.append(append)), StoreConflict)

    @rule(name=NAMES, up_to=st.integers(0, 20), forget=st.booleans())
    def compact(self, name: str, up_to: int, forget: bool) -> None:
        if name in self.chains:
            chain = self.chains[name]
            before = trio.run(lambda: self.memory.snapshot_at(name, seq=up_to))
            keep = max(before.seq if before else 0, chain.seq - len(self.left[name]))
            self.left[name] = (
                chain.ops[len(chain.ops) - (chain.seq - keep) :] if keep < chain.seq else []
            )
        self.both(lambda store: store.compact(name, up_to=up_to, forget_syncs=forget))

    @rule(name=NAMES, new=NAMES, seq=st.integers(0, 20))
    def fork(self, name: str, new: str, seq: int) -> None:
        source = self.chains.get(name)
        first = 0 if source is None else source.seq - len(self.left[name]) + 1
        fits = source is not None and max(first - 1, 1) <= seq <= source.seq
        is_new = new not in self.chains
        if source is not None and fits and is_new:
            self.left[new] = self.left[name][: seq + 1 - first]
        found = self.both(lambda store: store.fork(name, new, seq=seq))
        if not (fits and is_new):
            assert isinstance(found, type)
            return
        assert found == seq
        info = trio.run(lambda: self.memory.describe(new))
        assert info is not None
        self.chains[new] = Chain(
            new, seq, info.head, max(info.last_time, 1000), self.made, list(self.left[new])
        )

    @rule(name=NAMES, seq=st.integers(0, 20), time=st.integers(990, 1050))
    def look_back(self, name: str, seq: int, time: int) -> None:
        self.both(lambda store: store.snapshot_at(name, seq=seq))
        found = self.both(lambda store: store.seq_at(name, time=time))
        left = self.left.get(name, [])
        end = self.chains[name].seq if name in self.chains else 0
        assert found == end - len(left) + sum(1 for one in left if one.time <= time)

    @rule()
    def crash(self) -> None:
        self.killed()

    def killed(self) -> None:
        """Let the store be as a process leaves it that is killed."""

        async def main() -> None:
            async with open_sqlite_store(self.path, journal_bytes=SMALL_JOURNAL):
                copy = crashed_copy(self.path)
            copies.append(copy)

        copies: list[Path] = []
        trio.run(main)
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                Path(f"{copies[0]}{suffix}").replace(f"{self.path}{suffix}")


def test_both_stores_and_a_list_agree() -> None:
    run_state_machine_as_test(
        Stores, settings=settings(max_examples=examples(15), stateful_step_count=12, deadline=None)
    )


def test_a_database_and_a_list_agree(postgres: Postgres) -> None:
    class InPostgres(Stores):
        @initialize()
        def begin(self) -> None:
            super().begin()
            self.url = postgres.new_url()

        def opened(self) -> AbstractAsyncContextManager[Archive]:
            return open_postgres_store(self.url)

        def verified(self) -> Report:
            return verify_database(self.url, (), lambda *_: None)

        def killed(self) -> None:
            """One that is killed leaves its node, which has all, until others declare it dead."""

            async def main() -> None:
                async with open_postgres_store(self.url) as store:
                    for name in "abc":
                        await store.load(name, recent_syncs=1)
                    # It leaves no other one at its end.
                    store._claims.node = -1

            trio.run(main)
            with postgres.connect() as database:
                schema = self.url.partition("schema=")[2]
                database.execute(f"UPDATE {schema}.nodes SET state = 'dead'")

    run_state_machine_as_test(
        InPostgres,
        settings=settings(max_examples=examples(3, long=15), stateful_step_count=12, deadline=None),
    )
