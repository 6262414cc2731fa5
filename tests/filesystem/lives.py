"""Short lives of a store, whose every write is noted: what they append, when, and how."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio
from attrs import define, field, frozen
from msgspec.structs import replace

from squire_gatherings._hall.archive import Archive
from squire_gatherings._hall.event_store import EventStore
from squire_gatherings._hall.store import Outcome
from squire_gatherings._rules.chain import head_after, state_digest
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._stores.group_commit import GroupCommitter, Report, Take
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.sqlite import connection
from squire_gatherings._stores.sqlite.writer import Writer
from squire_gatherings._values.events import EventKind
from squire_gatherings._values.log import Append, Snapshot
from tests.filesystem.disk import Disk
from tests.filesystem.vfs import watched
from tests.stores.appends import all_of, an_append, an_event, fold_a_piece

NAME = "rooms.sqlite3"
FILES = (NAME, f"{NAME}-wal", f"{NAME}-journal")
GATHERINGS = "abc"
FORK = "fork"
OLD_GATHERINGS = ("friday", "sunday", "monday", "gone")
"""The gatherings in the files of older schemas."""
OLD = Path(__file__).parent.parent / "stores"

Files = dict[str, bytes]
"""The content of each file, by its name."""


def appends_of(count: int) -> list[Append]:
    """Appends to a few gatherings in turn, with a chain, as a hall makes them."""
    heads: dict[str, tuple[int, bytes]] = dict.fromkeys(GATHERINGS, (0, b""))
    found: list[Append] = []
    for number in range(count):
        gathering = GATHERINGS[number * number % len(GATHERINGS)]
        last, head = heads[gathering]
        size = 1 + number % 3
        plain = replace(an_append(gathering, last + 1, size), snapshot=None)
        head = head_after(head, plain)
        snapshot = None
        if not number % 4:
            state = b'{"at":%d,"much":"%b"}' % (last + size, b"x" * 700)
            snapshot = Snapshot(last + size, state, state_digest(head, state))
        found.append(replace(plain, head=head, snapshot=snapshot))
        heads[gathering] = last + size, head
    return found


@frozen
class Act:
    """A change of a whole log, after the appends."""

    what: str
    gathering: str
    do: Callable[[Archive, str], Awaitable[object]] = field(repr=False)


def deletes(store: Archive, gathering: str) -> Awaitable[object]:
    return store.delete(gathering, time=2000)


def compacts(store: Archive, gathering: str) -> Awaitable[object]:
    return store.compact(gathering, up_to=99)


def forks(store: Archive, gathering: str) -> Awaitable[object]:
    return store.fork(gathering, FORK, seq=3)


async def opens(store: Archive, gathering: str) -> None:
    assert isinstance(store, EventStore)
    await store.write_events([an_event(n, EventKind.OPENED, f"e{n}") for n in range(1, 20)])


async def ends(store: Archive, gathering: str) -> None:
    assert isinstance(store, EventStore)
    events = [an_event(20 + n, EventKind.DISPERSED, f"e{n}") for n in range(1, 9)]
    await store.write_events([*events, an_event(30, EventKind.OPENED, "new")])


ACTS = (Act("compact", "a", compacts), Act("fork", "b", forks), Act("delete", "b", deletes))

EVENTS = (Act("open", "a", opens), Act("end", "a", ends))
"""Lifecycle events."""

Deed = Append | Act


@frozen
class Expected:
    """What a store must say after each number of deeds, from none on."""

    deeds: Sequence[Deed]
    said: list[dict[str, object]]

    @classmethod
    def of(cls, deeds: Sequence[Deed]) -> "Expected":
        said: list[dict[str, object]] = []

        async def run() -> None:
            memory = MemoryStore()
            said.append(await all_said(memory))
            for deed in deeds:
                await do(memory, deed)
                said.append(await all_said(memory))

        trio.run(run)
        return cls(deeds, said)

    @classmethod
    def from_file(cls, folder: Path, life: "Life", there: Files) -> "Expected":
        """Return what a store says that begins with these files, if nothing goes wrong."""
        build(folder, there)

        async def run() -> dict[str, object]:
            async with a_store(folder, life) as store:
                return await all_said(store)

        return cls((), [trio.run(run)])


async def all_said(store: SqliteStore | MemoryStore) -> dict[str, object]:
    said: dict[str, object] = {}
    for name in (*GATHERINGS, *OLD_GATHERINGS, FORK):
        described = await store.describe(name)
        whole = await (
            store.load(name, recent_syncs=3) if described is None else all_of(store, name)
        )
        said[name] = described, whole
    left = await store.begin_events()
    store.end_events()
    said["open"] = left.last, [one.opened for one in left.open]
    said["events"] = await store.read_events(after=0, up_to=99, limit=99)
    return said


async def do(store: Archive, deed: Deed) -> None:
    if isinstance(deed, Act):
        await deed.do(store, deed.gathering)
    else:
        await store.append(deed)


@frozen
class Life:
    """How a store lives, until the power fails at some moment."""

    name: str
    steps: tuple[int, ...] = (1, 2, 1, 3)
    """The numbers of appends that it is given at a time."""
    before: int = 0
    """The number of appends that were there before the life began."""
    journal_bytes: int = 1 << 22
    folds: bool = False
    """Whether the journal is folded, piece by piece, after each step."""
    checkpoint_pages: int = connection.CHECKPOINT_PAGES
    closes: bool = False
    """Whether the store closes in order; the power fails during that as well."""
    acts: tuple[Act, ...] = ()
    """The changes of whole logs that follow."""
    schema: int | None = None
    """The older schema that the file has at the beginning, if it has one."""

    @property
    def count(self) -> int:
        """The number of appends at the end."""
        return self.before + sum(self.steps)

    def deeds(self) -> list[Deed]:
        return [*appends_of(self.count), *self.acts]


LIVES = (
    Life("new file"),
    Life("commits", before=4, steps=(1, 2, 1, 3, 1)),
    Life("folds", before=5, journal_bytes=1, folds=True, steps=(1, 2, 1, 2)),
    Life("checkpoints", before=5, folds=True, checkpoint_pages=5, steps=(1, 2, 1, 2, 1)),
    Life("closes", before=3, steps=(2, 1), closes=True),
    Life("whole logs", before=8, steps=(1,), acts=ACTS),
    Life("events", before=4, steps=(1, 1), acts=EVENTS),
    Life("from schema 3", steps=(), schema=3),
    Life("from schema 4", steps=(), schema=4),
    Life("from schema 5", steps=(), schema=5),
)


@define
class Recorder:
    """Tells a disk which appends have begun and which were acknowledged, in their order."""

    disk: Disk
    deeds: Sequence[Deed]
    _known: dict[tuple[str, int], int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known = {
            (one.gathering, one.first_seq): number
            for number, one in enumerate(self.deeds)
            if isinstance(one, Append)
        }

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note acknowledgements on the writer's thread, which decides them."""
        disk, known = self.disk, self._known
        report = GroupCommitter._report

        def noted(committer: GroupCommitter, outcomes: Sequence[Outcome]) -> None:
            for waiting, outcome in zip(committer._batch, outcomes, strict=True):
                assert outcome is None, outcome
                number = known[waiting.append.gathering, waiting.append.first_seq]
                assert number == disk.acknowledged
                disk.acknowledged = number + 1
            disk.note()
            report(committer, outcomes)

        with patch.object(GroupCommitter, "_report", noted):
            yield


@asynccontextmanager
async def a_store(folder: Path, life: Life) -> AsyncIterator[SqliteStore]:
    with patch.object(connection, "CHECKPOINT_PAGES", life.checkpoint_pages):
        async with open_sqlite_store(folder / NAME, journal_bytes=life.journal_bytes) as store:
            yield store


async def give(store: SqliteStore, appends: Sequence[Append], disk: Disk | None = None) -> None:
    """Append all of these at once, and wait for them."""
    left = len(appends)
    told = trio.Event()

    def ended(outcome: Outcome) -> None:
        nonlocal left
        assert outcome is None, outcome
        left -= 1
        if not left:
            told.set()

    if disk is not None:
        disk.began += len(appends)
    for append in appends:
        assert not store.append_nowait(append, ended)
    await told.wait()


def recorded(
    folder: Path, life: Life, there: Files, deeds: Sequence[Deed], *, has: int | None = None
) -> Disk:
    """Live a life that begins with these files; return all its possible crashes.

    Args:
        folder: Where the files are.
        life: How the store lives.
        there: The content of the files.
        deeds: The appends and the changes of whole logs.
        has: The number of these that the files have, if it isn't `life.before`.
    """
    build(folder, there)
    disk = Disk()
    disk.begin({str(folder / name): data for name, data in there.items()})
    at = disk.began = disk.acknowledged = life.before if has is None else has

    appends = [one for one in deeds if isinstance(one, Append)]

    async def run() -> None:
        nonlocal at
        async with a_store(folder, life) as store:
            store._writer.piece = 1
            for step in life.steps:
                await give(store, appends[at : at + step], disk)
                at += step
                while life.folds and await fold_a_piece(store):
                    pass
            for act in life.acts:
                disk.began += 1
                await do(store, act)
                disk.acknowledged += 1
                disk.note()
            disk.note()
            # Another life covers the orderly end.
            disk.is_over = not life.closes
        disk.note()

    with watched(disk), Recorder(disk, deeds).listening():
        trio.run(run)
    return disk


def build(folder: Path, files: Files) -> None:
    """Write these files, and leave nothing else of a store."""
    for name in (*FILES, f"{NAME}-shm", f"{NAME}-lock"):
        (folder / name).unlink(missing_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)


def files_of(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def prepared(folder: Path, life: Life) -> Files:
    """Return the files that a life begins with: an orderly end or an older version left them."""
    build(folder, {})
    if life.schema is not None:
        with closing(sqlite3.connect(folder / NAME)) as old:
            old.executescript((OLD / f"schema{life.schema}.sql").read_text())
        return files_of(folder)
    if not life.before:
        return {}

    async def run() -> None:
        async with a_store(folder, life) as store:
            for append in appends_of(life.before):
                await give(store, [append])

    trio.run(run)
    return files_of(folder)


# Faults that the tests must find.


@contextmanager
def synchronous(how: str) -> Iterator[None]:
    """Let SQLite flush less than it is told to."""

    class Careless(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA synchronous = FULL":
                sql = f"PRAGMA synchronous = {how}"
            return super().execute(sql, *args)

    connect = partial(sqlite3.connect, factory=Careless)
    with patch("squire_gatherings._stores.sqlite.connection.sqlite3.connect", connect):
        yield


@contextmanager
def acknowledged_too_early() -> Iterator[None]:
    """Let appends be acknowledged before they are committed."""
    append_all = Writer.append_all
    reports: list[Report] = []
    append_batches = Writer.append_batches

    def batches(self: Writer, take: Take, report: Report, *more: Any) -> None:
        reports[:] = [report]
        append_batches(self, take, lambda _: None, *more)

    def early(self: Writer, database: sqlite3.Connection, appends: Sequence[Append]) -> Any:
        reports[0]([None] * len(appends))
        return append_all(self, database, appends)

    with patch.object(Writer, "append_batches", batches), patch.object(Writer, "append_all", early):
        yield
