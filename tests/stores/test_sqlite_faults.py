"""Faults at any statement, at random: no acknowledged append is lost, doubled or changed."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import connect
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores import MemoryStore, SqliteStore, open_sqlite_store
from squire_gatherings._stores.group_commit import GroupCommitter
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from tests.stores.appends import all_of, an_append, beside, crashed_copy, fold_a_piece
from tests.support import examples

T = TypeVar("T")

ERRORS: dict[str, tuple[type[sqlite3.Error], int]] = {
    "database is locked": (sqlite3.OperationalError, sqlite3.SQLITE_BUSY),
    "disk I/O error": (sqlite3.OperationalError, sqlite3.SQLITE_IOERR),
    "database or disk is full": (sqlite3.OperationalError, sqlite3.SQLITE_FULL),
    "database disk image is malformed": (sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT),
}
NO_MEMORY = "no memory"
ATTEMPTS = 200
FULL = 2
"""The value of `PRAGMA synchronous`."""
LOCKED = "database is locked"
NEVER_LOCKED = ("COMMIT", "ROLLBACK", "RELEASE", "SAVEPOINT")
"""Statements that never wait for a lock: their transaction has it."""


@define(eq=False)
class Faults:
    """The faults to come."""

    plan: list[tuple[int, str, bool]]
    """The statements before each fault, the fault, and whether its statement still takes effect."""
    happened: list[str] = field(factory=list)
    _passed: int = 0
    _lock: Lock = field(factory=Lock)

    def of(self, sql: str, *, in_transaction: bool) -> tuple[Exception | None, bool]:
        """Return the next statement's error, if it has one, and whether it still takes effect."""
        with self._lock:
            self._passed += 1
            if not self.plan or self._passed <= self.plan[0][0]:
                return None, False
            _, what, after = self.plan[0]
            if what == LOCKED:
                after = False
                if in_transaction or sql.startswith(NEVER_LOCKED):
                    return None, False
            del self.plan[0]
            self._passed = 0
            self.happened.append(f"{what}: {sql:.60}")
            if what == NO_MEMORY:
                return MemoryError(), after
            kind, code = ERRORS[what]
            error = kind(what)
            error.sqlite_errorcode = code
            return error, after


class Flaky(sqlite3.Connection):
    """A connection with faults."""

    faults: ClassVar[Faults]

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._do(super().execute, sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return self._do(super().executemany, sql, *args)

    def _do(self, really: Callable[..., sqlite3.Cursor], sql: str, *args: Any) -> sqlite3.Cursor:
        error, after = self.faults.of(sql, in_transaction=self.in_transaction)
        try:
            if error is not None and not after:
                raise error
            cursor = really(sql, *args)
            if error is not None:
                # A cursor that isn't read to its end keeps its lock, also when all is closed.
                cursor.close()
                raise error
            return cursor
        finally:
            # The traceback of the error has this frame, which would keep the error.
            del error


@contextmanager
def flaky(faults: Faults) -> Iterator[None]:
    Flaky.faults = faults
    connect = partial(sqlite3.connect, factory=Flaky)
    with patch("squire_gatherings._stores.sqlite.connection.sqlite3.connect", connect):
        yield


@contextmanager
def batches_of(most: int) -> Iterator[None]:
    """Make batches no larger than this, so that one session commits several."""

    def drain(committer: GroupCommitter) -> None:
        while committer._queue and len(committer._batch) < most:
            committer._batch.append(committer._queue.popleft())

    with patch.object(GroupCommitter, "_drain", drain):
        yield


async def persist(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while the store is unavailable, which must end."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except StoreUnavailable as error:
            why = str(error)
            await trio.lowlevel.checkpoint()
    raise AssertionError(f"still unavailable: {why}")


async def append_together(store: SqliteStore, appends: Sequence[Append]) -> list[Append]:
    """Append these, one for each gathering; return those that aren't acknowledged."""
    outcomes: dict[int, Outcome] = {}
    told = trio.Event()

    def ended(number: int, outcome: Outcome) -> None:
        assert number not in outcomes
        outcomes[number] = outcome
        if len(outcomes) == len(appends):
            told.set()

    for number, append in enumerate(appends):
        assert not store.append_nowait(append, partial(ended, number))
    with trio.fail_after(60):
        await told.wait()
    for outcome in outcomes.values():
        assert outcome is None or isinstance(outcome, StoreUnavailable), repr(outcome)
    return [one for number, one in enumerate(appends) if outcomes[number] is not None]


Step = tuple[str, Any]

FAULT = st.tuples(st.integers(0, 25), st.sampled_from([*ERRORS, NO_MEMORY]), st.booleans())
STEP: st.SearchStrategy[Step] = st.one_of(
    st.tuples(
        st.sampled_from(["append"] * 5 + ["locked"]),
        st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1),
    ),
    st.tuples(st.sampled_from(["look", "fold", "piece", "piece", "read-only"]), st.none()),
    st.tuples(st.just("full"), st.integers(0, 4)),
    st.tuples(st.just("checkpoint"), st.sampled_from(["PASSIVE", "RESTART", "TRUNCATE"])),
    st.tuples(st.just("reopen"), st.booleans()),
)


@define(eq=False)
class Life:
    """A file, and the acknowledged appends that it must hold."""

    path: Path
    journal_bytes: int
    steps: list[Step]
    memory: MemoryStore = field(factory=MemoryStore)
    heads: dict[str, int] = field(factory=lambda: dict.fromkeys("abcd", 0))

    async def go(self) -> None:
        while self.steps:
            await persist(self._live)
        await persist(self._compare_all)

    async def _live(self) -> None:
        """Live until the store is to close, or to crash; then continue with the files it leaves."""
        crashed: Path | None = None
        async with self._opened() as store:
            while self.steps:
                step, how = self.steps.pop(0)
                if step == "reopen":
                    crashed = crashed_copy(self.path) if how else None
                    break
                await self._take(store, step, how)
        if crashed is not None:
            for suffix in ("", "-wal"):
                beside(self.path, suffix).unlink(missing_ok=True)
                if beside(crashed, suffix).exists():
                    beside(crashed, suffix).rename(beside(self.path, suffix))

    def _opened(self) -> Any:
        return open_sqlite_store(self.path, busy_timeout=0, journal_bytes=self.journal_bytes)

    async def _take(self, store: SqliteStore, step: str, how: Any) -> None:
        store._writer.piece = 1
        if step in ("append", "locked"):
            appends = [
                an_append(name, self.heads[name] + 1, count, snapshot=count == 2)
                for name, count in how.items()
            ]
            for append in appends:
                self.heads[append.gathering] += len(append.ops)
                await self.memory.append(append)
            if step == "locked":
                with closing(connect(self.path, isolation_level=None)) as blocker:
                    blocker.execute("BEGIN IMMEDIATE")
                    assert await append_together(store, appends) == appends
            for _ in range(ATTEMPTS):
                appends = await append_together(store, appends)
                if not appends:
                    break
            assert not appends
        elif step == "look":
            await self._compare(store)
        elif step == "checkpoint":
            # Another program makes this checkpoint, which doesn't count as overwriting.
            with closing(connect(self.path, timeout=0, isolation_level=None)) as other:
                other.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        elif step == "fold":
            await persist(lambda: store._write_connection.call(store._writer.fold))
        elif step == "piece":
            await persist(lambda: fold_a_piece(store))
        else:
            await persist(lambda: store._write_connection.call(partial(hinder, step, how)))

    async def _compare(self, store: SqliteStore) -> None:
        for name in "abcde":
            read = await persist(partial(all_of, store, name))
            assert read == await all_of(self.memory, name)
        assert await self._ask(store, "SELECT count(*) FROM refused") == 0
        assert await self._ask(store, "PRAGMA integrity_check") == "ok"
        # A commit is on the disk when it is acknowledged.
        assert await self._ask(store, "PRAGMA synchronous") == FULL

    async def _compare_all(self) -> None:
        async with self._opened() as store:
            await self._compare(store)

    async def _ask(self, store: SqliteStore, sql: str) -> Any:
        def ask(database: sqlite3.Connection) -> Any:
            return database.execute(sql).fetchone()[0]

        return await persist(lambda: store._write_connection.call(ask))


def hinder(step: str, how: Any, database: sqlite3.Connection) -> None:
    """Make SQLite itself fail soon, until the connection is opened again."""
    if step == "full":
        [pages] = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + how}")
    elif step == "read-only":
        database.execute("PRAGMA query_only = ON")


@settings(max_examples=examples(60), deadline=None)
@given(
    steps=st.lists(STEP, min_size=5, max_size=40),
    plan=st.lists(FAULT, max_size=25),
    journal_bytes=st.sampled_from([0, 800, 2500, 1 << 20]),
    most=st.integers(1, 4),
)
def test_nothing_acknowledged_is_lost_whatever_fails(
    steps: list[Step], plan: list[tuple[int, str, bool]], journal_bytes: int, most: int
) -> None:
    with TemporaryDirectory() as folder:
        life = Life(Path(folder) / "rooms.sqlite3", journal_bytes, list(steps))
        with flaky(Faults(list(plan))), batches_of(most):
            trio.run(life.go)
