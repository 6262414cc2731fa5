"""Every store keeps the promises of `Store`; random work has the same outcomes in both."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from squire_gatherings._hall.store import READ_LIMIT, Outcome, Store, Unstorable
from squire_gatherings._rules.chain import head_of
from squire_gatherings._stores import MemoryStore, SqliteStore, open_sqlite_store, open_store
from squire_gatherings._values.errors import (
    BadSetting,
    GatheringsError,
    StoreConflict,
    StoreUnavailable,
)
from squire_gatherings._values.log import (
    Append,
    LoggedOp,
    Restored,
    Snapshot,
    SyncRecord,
    encoded_size,
)
from squire_gatherings._values.op import Op
from tests.stores.appends import (
    FINGERPRINT,
    all_of,
    an_append,
    crashed_copy,
    do,
    fold_a_piece,
    in_epoch,
)
from tests.support import examples

SMALL_JOURNAL = 800
"""The size with which a journal is folded after two or three appends."""


@pytest.fixture(
    params=["memory:", "sqlite", "sqlite, small journal", "sqlite, no journal", "postgres"]
)
async def store(request: Any, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "postgres":
        async with open_store(request.getfixturevalue("postgres").new_url()) as database:
            yield database
        return
    path = tmp_path / "rooms.sqlite3"
    sizes = {"sqlite, small journal": SMALL_JOURNAL, "sqlite, no journal": 0}
    if request.param in sizes:
        async with open_sqlite_store(path, journal_bytes=sizes[request.param]) as opened:
            yield opened
    else:
        url = request.param if request.param == "memory:" else f"sqlite:///{path}"
        async with open_store(url) as made:
            yield made


async def test_a_new_gathering_is_empty(store: Store) -> None:
    assert await store.load("a", recent_syncs=3) == Restored()
    assert await store.read("a", after=0, up_to=9, max_bytes=99) == ()
    assert await store.find_syncs("a", (("0::", "s1"),)) == {}


async def test_what_was_appended_is_read_back(store: Store) -> None:
    first, second = an_append("a", 1, 2, snapshot=True), an_append("a", 3, 2)
    await store.append(first)
    await store.append(second)
    await store.append(an_append("b", 1))
    restored = await store.load("a", recent_syncs=9)
    assert restored == Restored(
        4,
        first.snapshot,
        second.ops,
        first.syncs + second.syncs,
        False,
        "epoch 1",
        1002,
        head_of(second),
    )
    assert await store.read("a", after=1, up_to=3, max_bytes=999) == (first.ops[1], second.ops[0])


async def test_each_op_has_its_epoch(store: Store) -> None:
    first = an_append("a", 1, 7)
    await store.append(first)
    await store.append(in_epoch(an_append("a", 8, 2), "epoch 2"))
    await store.append(Append("a", 10, (), (), Snapshot(9, b"{}")))
    await store.append(in_epoch(an_append("b", 1), ""))
    await store.append(in_epoch(an_append("b", 2), "later"))
    for _ in range(2):
        restored = await store.load("a", recent_syncs=1)
        assert (restored.seq, restored.ops, restored.epoch) == (9, (), "epoch 2")
        ops = await store.read("a", after=3, up_to=99, max_bytes=999)
        assert [logged.epoch for logged in ops] == ["epoch 1"] * 2 + ["epoch 2"] * 4
        # Ops share their incarnation's name: incarnations are few and ops are many.
        assert len({id(logged.epoch) for logged in ops[:2]}) == 1
        restored = await store.load("b", recent_syncs=1)
        assert [logged.epoch for logged in restored.ops] == ["", restored.epoch] == ["", "later"]
        if isinstance(store, SqliteStore):
            await store._write_connection.call(store._writer.fold)


async def test_the_newest_snapshot_replaces_the_older(store: Store) -> None:
    appends = [an_append("a", n, snapshot=n < 3) for n in (1, 2, 3)]
    for append in appends:
        await store.append(append)
    restored = await store.load("a", recent_syncs=9)
    assert restored.snapshot == appends[1].snapshot
    assert restored.ops == an_append("a", 3).ops


async def test_an_op_may_have_no_author(store: Store) -> None:
    logged = LoggedOp(Op.of({"text": "Zoë \U0001f3c6\0"}).json, None)
    await store.append(Append("a", 1, (logged,), ()))
    assert (await store.load("a", recent_syncs=1)).ops == (logged,)


async def test_recent_syncs_are_the_newest_oldest_first(store: Store) -> None:
    # The ids' order isn't the log's, so that a store can't mix them up.
    names = ["m", "z", "a", "k"]
    for n, name in enumerate(names, start=1):
        await store.append(an_append("a", n, sync=name))
    for limit in (1, 3, 4, 5):
        restored = await store.load("a", recent_syncs=limit)
        assert [record.id for record in restored.recent] == names[-limit:]
        assert restored.has_older == (limit < 4)
    found = await store.find_syncs("a", (("0::", "m"), ("0::", "q"), ("1::", "m")))
    assert found == {("0::", "m"): SyncRecord("0::", "m", 1, 1, FINGERPRINT)}


async def test_the_sync_ids_of_a_scope_are_found_up_to_a_limit(store: Store) -> None:
    for n, name in enumerate(["m", "z", "a"], start=1):
        await store.append(an_append("a", n, sync=name))
    assert await store.sync_ids("nowhere", "0::", limit=9) == ()
    assert await store.sync_ids("a", "1::", limit=9) == ()
    assert sorted(await store.sync_ids("a", "0::", limit=3)) == ["a", "m", "z"]
    some = await store.sync_ids("a", "0::", limit=2)
    assert len(some) == 2
    assert {*some} < {"a", "m", "z"}


async def test_the_size_of_a_log_is_that_of_its_ops(store: Store) -> None:
    assert await store.size("a") == 0
    total = 0
    await store.append(an_append("b", 1, 2))
    for number in range(1, 8):
        append = an_append("a", number, mark="ö" * 100, snapshot=number == 3)
        await store.append(append)
        total += len(append.ops[0].json)
        assert await store.size("a") == total


async def test_a_page_has_an_op_however_large(store: Store) -> None:
    append = an_append("a", 1, 3, mark="x" * 500)
    await store.append(append)
    size = encoded_size(append.ops[0])
    assert size > len(append.ops[0].json)
    assert await store.read("a", after=0, up_to=3, max_bytes=1) == append.ops[:1]
    assert await store.read("a", after=0, up_to=3, max_bytes=2 * size) == append.ops[:2]
    assert await store.read("a", after=0, up_to=3, max_bytes=2 * size - 1) == append.ops[:1]
    assert await store.read("a", after=3, up_to=9, max_bytes=1) == ()


async def test_a_page_is_bounded_however_small_its_ops_are(store: Store) -> None:
    tiny = tuple(LoggedOp(b"{}", None) for _ in range(READ_LIMIT + 1))
    await store.append(Append("a", 1, tiny, ()))
    # The author's name counts, too.
    await store.append(Append("b", 1, (LoggedOp(b"{}", "x" * 100),) * 3, ()))
    for _ in range(2):
        page = await store.read("a", after=0, up_to=READ_LIMIT + 1, max_bytes=10**9)
        assert len(page) == READ_LIMIT
        assert len(await store.read("a", after=1, up_to=9**9, max_bytes=10**9)) == READ_LIMIT
        assert len(await store.read("b", after=0, up_to=3, max_bytes=250)) == 2
        if isinstance(store, SqliteStore):
            await store._write_connection.call(store._writer.fold)


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "load": lambda store: store.load("a", recent_syncs=3),
    "append": lambda store: store.append(an_append("a", 2)),
    "append again": lambda store: store.append(an_append("a", 1)),
    "append in vain": lambda store: store.append(an_append("a", 7)),
    "read": lambda store: store.read("a", after=0, up_to=1, max_bytes=99),
    "read nothing": lambda store: store.read("nowhere", after=0, up_to=1, max_bytes=99),
    "find_syncs": lambda store: store.find_syncs("a", (("0::", "s1"),)),
    "find no syncs": lambda store: store.find_syncs("nowhere", ()),
    "sync_ids": lambda store: store.sync_ids("a", "0::", limit=3),
    "size": lambda store: store.size("a"),
    "size of nothing": lambda store: store.size("nowhere"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_every_call_is_a_checkpoint(
    store: Store, call: Callable[[Store], Awaitable[object]]
) -> None:
    await store.append(an_append("a", 1))
    before = await all_of(store, "a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(store)
    assert scope.cancelled_caught
    # A call that was cancelled before it began has done nothing.
    assert await all_of(store, "a") == before
    with trio.testing.assert_checkpoints(), suppress(StoreConflict):
        await call(store)


@pytest.mark.parametrize(
    "never",
    [
        Append("a", 2, (LoggedOp(b"{}", "\ud800"),), ()),
        Append("a", 2, an_append("a", 2).ops, (SyncRecord("\ud800", "s", 2, 1, b""),)),
        Append("a", 2, an_append("a", 2).ops, (SyncRecord("0::", "\udfff", 2, 1, b""),)),
        Append("\ud800", 1, an_append("a", 1).ops, ()),
    ],
    ids=["by", "scope", "sync", "gathering"],
)
async def test_what_can_never_be_stored_is_an_error_of_its_own(store: Store, never: Append) -> None:
    await store.append(an_append("a", 1))
    before = await all_of(store, "a")
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r": can't be stored: .*surrogates not allowed"
        ) as error:
            await store.append(never)
        assert not isinstance(error.value, GatheringsError)
        # The error's text can be sent to a client.
        str(error.value).encode()
    assert await all_of(store, "a") == before


async def test_an_error_names_the_sync_that_cannot_be_stored(store: Store) -> None:
    def made_by(by: str | None, n: int, sync_id: str) -> tuple[LoggedOp, SyncRecord]:
        return LoggedOp(Op.of({"n": n}).json, by), SyncRecord("0::", sync_id, n, 1, FINGERPRINT)

    made = [
        made_by("alice", 1, "fine"),
        made_by("\ud800", 2, "by"),
        made_by(None, 3, "also fine"),
        made_by("bob", 4, "id \udfff"),
    ]
    ops, syncs = zip(*made, strict=True)
    with pytest.raises(Unstorable) as error:
        await store.append(Append("a", 1, ops, syncs, Snapshot(4, b"{}")))
    assert error.value.syncs == (("0::", "by"), ("0::", "id \udfff"))
    assert await store.load("a", recent_syncs=9) == Restored()
    await store.append(Append("a", 1, ops[:1], syncs[:1]))


async def test_what_is_asked_with_a_lone_surrogate_is_not_there(store: Store) -> None:
    await store.append(an_append("a", 1))
    known, unknown = ("0::", "s1"), ("0::", "\ud800")
    found = await store.find_syncs("a", (unknown, known, ("\udfff", "s1")))
    assert found == {known: an_append("a", 1).syncs[0]}
    assert await store.find_syncs("\ud800", (known,)) == {}
    assert await store.sync_ids("a", "\ud800", limit=9) == ()
    assert await store.load("\ud800", recent_syncs=9) == Restored()
    assert await store.read("\ud800", after=0, up_to=9, max_bytes=99) == ()


async def test_the_same_append_again_is_applied_once(store: Store) -> None:
    first, second = an_append("a", 1, 2, snapshot=True), an_append("a", 3)
    for append in (first, first, second, first, second):
        await store.append(append)
    assert (await store.load("a", recent_syncs=9)).seq == 3


@pytest.mark.parametrize(
    "wrong",
    [
        an_append("a", 5),  # A hole.
        an_append("a", 2, mark="other"),  # Another op under this seq.
        an_append("a", 3, 2),  # Only partly there.
        an_append("a", 3, sync="another"),  # An equal op, but another writer's.
        in_epoch(an_append("a", 3), "another"),  # Another writer's, by its epoch.
        an_append("a", 4, sync="s1"),  # A sync that was applied before.
        an_append("new", 2),  # A hole before a log that doesn't exist.
        Append("a", 2, (), ()),
        Append("a", 4, an_append("a", 4).ops, an_append("a", 4).syncs * 2),
    ],
    ids=[
        "hole",
        "other op",
        "partly",
        "other sync",
        "epoch",
        "old sync",
        "no log",
        "nothing",
        "sync twice",
    ],
)
async def test_a_conflict_writes_nothing(store: Store, wrong: Append) -> None:
    await store.append(an_append("a", 1, 2))
    await store.append(an_append("a", 3))
    before = await all_of(store, "a"), await all_of(store, "new")
    with pytest.raises(StoreConflict):
        await store.append(wrong)
    assert (await all_of(store, "a"), await all_of(store, "new")) == before


async def test_an_append_without_waiting_is_told_its_outcome(store: Store) -> None:
    outcomes: list[Outcome] = []
    told = trio.Event()

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 2:
            told.set()

    if store.name == "memory:":
        assert store.append_nowait(an_append("a", 1), ended)
        with pytest.raises(StoreConflict):
            store.append_nowait(an_append("a", 3), ended)
        assert not outcomes
    else:
        assert not store.append_nowait(an_append("a", 1), ended)
        assert not store.append_nowait(an_append("a", 3), ended)
        assert not outcomes
        await told.wait()
        assert outcomes[0] is None
        assert isinstance(outcomes[1], StoreConflict)
    assert (await store.load("a", recent_syncs=1)).seq == 1


def fail(_: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("disk I/O error")


class SameAsMemory(RuleBasedStateMachine):
    """Appends of several gatherings, with repeats and conflicts.

    In between the test reads the store, with more or less in its journal; it folds it, closes it or
    crashes it, and reopens it.
    """

    journal_bytes = 0

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryStore()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "rooms.sqlite3"
        self.done: list[Append] = []
        self.pending: list[Append | str] = []

    @initialize(journal_bytes=st.sampled_from([0, SMALL_JOURNAL, 3 * SMALL_JOURNAL, 1 << 20]))
    def choose(self, journal_bytes: int) -> None:
        self.journal_bytes = journal_bytes

    def teardown(self) -> None:
        try:
            trio.run(self._live_one_life, True)
        finally:
            self.folder.cleanup()

    @rule(
        gathering=st.sampled_from("ab"),
        off=st.sampled_from([0, 0, 0, 0, -2, -1, 1]),
        count=st.integers(1, 3),
        mark=st.sampled_from(["", "x"]),
        snapshot=st.booleans(),
        sync=st.sampled_from([None, None, None, "reused"]),
    )
    def append(
        self, gathering: str, off: int, count: int, mark: str, snapshot: bool, sync: str | None
    ) -> None:
        end = sum(len(one.ops) for one in self.done if one.gathering == gathering)
        first = max(1, end + 1 + off)
        append = an_append(gathering, first, count, mark, snapshot=snapshot, sync=sync)
        self.pending.append(append)
        if off == 0:
            self.done.append(append)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.done:
            self.pending.append(data.draw(st.sampled_from(self.done)))

    @rule(event=st.sampled_from(["look", "look", "fold", "piece", "piece", "break"]))
    def happens(self, event: str) -> None:
        self.pending.append(event)

    @rule(crash=st.booleans())
    def reopen(self, crash: bool) -> None:
        if len(self.pending) >= 8:
            trio.run(self._live_one_life, crash)

    async def _live_one_life(self, crash: bool) -> None:
        async with open_sqlite_store(self.path, journal_bytes=self.journal_bytes) as sqlite:
            sqlite._writer.piece = 1
            for step in self.pending:
                if isinstance(step, Append):
                    assert await do(sqlite, step) == await do(self.memory, step)
                elif step == "look":
                    await self._compare(sqlite)
                else:
                    await self._disturb(sqlite, step)
            await self._compare(sqlite)
            if crash:
                copy = crashed_copy(self.path)
        self.pending.clear()
        if crash:
            self.path = copy
        async with open_sqlite_store(self.path) as sqlite:
            await self._compare(sqlite)

    async def _compare(self, sqlite: SqliteStore) -> None:
        for gathering in ("a", "b", "c"):
            assert await all_of(sqlite, gathering) == await all_of(self.memory, gathering)
            for limit in (2, 99):
                ids = await sqlite.sync_ids(gathering, "0::", limit=limit)
                expected = await self.memory.sync_ids(gathering, "0::", limit=99)
                assert len(ids) == len(set(ids)) == min(limit, len(expected))
                assert set(ids) <= set(expected)

    async def _disturb(self, sqlite: SqliteStore, how: str) -> None:
        if how == "fold":
            await sqlite._write_connection.call(sqlite._writer.fold)
        elif how == "piece":
            await fold_a_piece(sqlite)
        else:
            with pytest.raises(StoreUnavailable):
                await sqlite._write_connection.call(fail)


def test_sqlite_does_what_memory_does() -> None:
    run_state_machine_as_test(
        SameAsMemory,
        settings=settings(
            max_examples=examples(25, long=40), stateful_step_count=30, deadline=None
        ),
    )


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=30))
def test_appends_in_one_batch_do_what_they_do_one_by_one(work: list[tuple[str, int]]) -> None:
    async def compare() -> None:
        memory = MemoryStore()
        with TemporaryDirectory() as folder:
            async with open_sqlite_store(Path(folder) / "rooms.sqlite3") as sqlite:
                outcomes: dict[int, str] = {}

                async def append(number: int, one: Append) -> None:
                    outcomes[number] = await do(sqlite, one)

                expected = {}
                async with trio.open_nursery() as nursery:
                    for number, (gathering, first) in enumerate(work):
                        one = an_append(gathering, first)
                        expected[number] = await do(memory, one)
                        nursery.start_soon(append, number, one)
                        # Trio starts tasks in random order; appends count in the order of their
                        # arrival.
                        await trio.testing.wait_all_tasks_blocked()
                assert outcomes == expected
                for gathering in "abc":
                    assert await all_of(sqlite, gathering) == await all_of(memory, gathering)

    trio.run(compare)


async def test_urls_open_their_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    async with open_store("memory:") as store:
        assert store.name == "memory:"
    for path, made in (
        ("relative #1?.db", "relative #1?.db"),
        (f"{tmp_path}/absolute%20.db", "absolute%20.db"),
        ("~/at-home.db", "home/at-home.db"),
    ):
        async with open_store(f"sqlite:///{path}") as store:
            assert store.name.endswith(made)
        assert (tmp_path / made).is_file()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://me:secret@host/db", "postgresql://HOST/DATABASE, not 'mysql'"),
        ("sqlite://rooms.db", "with three slashes"),
        ("sqlite:///", "with three slashes"),
        ("sqlite:///:memory:", "is memory:"),
        ("sqlite:///a\0b", "null character"),
        ("", "memory:, sqlite:///PATH or postgresql://HOST/DATABASE"),
    ],
)
async def test_other_urls_are_refused(url: str, why: str) -> None:
    with pytest.raises(BadSetting, match=why) as refused:
        async with open_store(url):
            pass
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
