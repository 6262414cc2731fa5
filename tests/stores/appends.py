"""Appends and lifecycle events for the tests of stores, and their outcomes."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from sys import intern
from unittest.mock import patch

import attrs
from msgspec.structs import replace

from squire_gatherings._hall.store import Store
from squire_gatherings._rules.chain import state_digest
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._stores.sqlite.place import Place
from squire_gatherings._values.end_rules import EndRules
from squire_gatherings._values.errors import StoreConflict
from squire_gatherings._values.events import EventKind, LifecycleEvent
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings._values.op import Op
from squire_gatherings._values.sleep import SleepState, Slept, packed

FINGERPRINT = b"0123456789abcdef"


def an_append(
    gathering: str,
    first: int,
    count: int = 1,
    mark: str = "",
    *,
    snapshot: bool = False,
    sync: str | None = None,
) -> Append:
    """Make an append of `count` ops from one sync, which is called `sync`.

    Every third op is logged by another incarnation than the one before it; every second one is
    logged later. The head isn't that of a chain, but another one for each append.
    """
    last = first + count - 1
    state = b'{"at":%d}' % last
    head = sha256(f"{gathering} {first} {count} {mark}".encode()).digest()
    return Append(
        gathering,
        first,
        tuple(
            LoggedOp(
                Op.of({"n": n, "mark": mark}).json,
                "alice",
                intern(f"epoch {n // 3}"),
                1000 + n // 2,
            )
            for n in range(first, last + 1)
        ),
        (SyncRecord("0::", sync or f"s{first}{mark}", first, count, FINGERPRINT),),
        Snapshot(last, state, state_digest(head, state)) if snapshot else None,
        head,
    )


def an_event(
    number: int, kind: EventKind = EventKind.EMPTIED, gathering: str = "a"
) -> LifecycleEvent:
    """Make a lifecycle event of the one incarnation that a gathering has here."""
    incarnation = f"{gathering}{gathering}"
    data = {"seq": number, "reason": "idle", "lateness": None, "lifetime": 0.5}
    return LifecycleEvent(
        number, f"{incarnation}-{number}", gathering, incarnation, kind, 1000 + number, data
    )


def in_epoch(append: Append, epoch: str) -> Append:
    """Make the same append by another incarnation."""
    ops = tuple(replace(logged, epoch=epoch) for logged in append.ops)
    return replace(append, ops=ops)


async def all_of(store: Store, gathering: str) -> object:
    """Read everything that a store has of a gathering, to compare it."""
    restored = await store.load(gathering, recent_syncs=3)
    ops = await store.read(gathering, after=0, up_to=restored.seq, max_bytes=10**9)
    page = await store.read(gathering, after=1, up_to=restored.seq, max_bytes=40)
    names = [f"s{n}{mark}" for n in range(1, 40) for mark in ("", "x")]
    keys = tuple(("0::", name) for name in (*names, "reused"))
    return restored, ops, page, await store.find_syncs(gathering, keys)


async def do(store: Store, append: Append) -> str:
    """Append; return the outcome."""
    try:
        await store.append(append)
    except StoreConflict:
        return "conflict"
    return "done"


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file beside a store's file."""
    return path.with_name(path.name + suffix)


def crashed_copy(path: Path) -> Path:
    """Copy the file of an open store: a crash at this moment would leave the copy."""
    copy = path.with_name(f"crashed-{path.name}")
    for suffix in ("", "-wal"):
        target = Path(f"{copy}{suffix}")
        target.unlink(missing_ok=True)
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", target)
    return copy


@asynccontextmanager
async def another_writer(path: Path) -> AsyncIterator[SqliteStore]:
    """Open the file of an open store after its locks were removed."""
    beside(path, "-lock").unlink()
    with patch.object(Place, "hold", lambda *_: None):
        async with open_sqlite_store(path) as store:
            yield store


async def fold_a_piece(store: SqliteStore) -> bool:
    """Fold a piece of the journal, however small; return whether more is to be folded."""
    writer = store._writer

    def fold(database: sqlite3.Connection) -> bool:
        if writer.unfolded.older is None and writer.unfolded.appends:
            writer.begin_folding()
        return writer.fold_some(database)

    return await store._write_connection.call(fold)


def a_sleeper(incarnation: str = "aa", seq: int = 0, gathering: str = "friday") -> Slept:
    """Return one that sleeps."""
    moved = ("join", "ann", None)
    state = SleepState(
        packed(incarnation),
        seq,
        3,
        2,
        True,
        True,
        5.0,
        7.0,
        None,
        6.0,
        None,
        None,
        moved,
        None,
        (3, 1, 2, 0),
    )
    rules = attrs.asdict(EndRules(), filter=lambda one, _: one.init)
    return Slept(gathering, state, rules, None, {"max_age": 9.0})
