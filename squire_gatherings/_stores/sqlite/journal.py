"""The journal: the appends of each group commit as one entry, and those that aren't folded yet.

An entry is a piece of MessagePack, in a row of its own. `Unfolded` is what memory knows of the
entries whose appends aren't in the tables yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Annotated

import msgspec
from attrs import define, field

from squire_gatherings._rules.chain import head_over, parts_of
from squire_gatherings._stores.sqlite.schema import checksum_bytes
from squire_gatherings._values.log import (
    Append,
    LoggedOp,
    Snapshot,
    SyncRecord,
    of_each,
)

SyncKey = tuple[str, str, str]
"""Gathering, scope and id."""

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite can hold."""
_Op = tuple[str | None, bytes]
_Sync = tuple[str, str, _Integer, _Integer, bytes | int]
_Snapshot = tuple[_Integer, bytes]
_Run = tuple[_Integer, str]
_TimeRun = tuple[_Integer, _Integer]


class _Written(msgspec.Struct, array_like=True, gc=False):
    """An append, as an array.

    In schema 3 it ended before `epochs`, and fingerprints were numbers; in schema 4 it ended after
    them.
    """

    gathering: str
    first_seq: _Integer
    ops: tuple[_Op, ...]
    syncs: tuple[_Sync, ...]
    snapshot: _Snapshot | None
    epochs: tuple[_Run, ...] = ()
    times: tuple[_TimeRun, ...] = ()
    head: bytes = b""
    digest: bytes = b""
    """The snapshot's."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Written]).decode


def encode_entry(appends: Sequence[Append]) -> bytes:
    """Return the entry of these appends.

    Raises:
        ValueError: One of them holds what the tables can't (an integer of more than 64 bits, a
            lone surrogate), so that it couldn't be folded.
    """
    try:
        entry = _encode([_written(append) for append in appends])
        # An entry that can be read is one whose values have the right types.
        _decode(entry)
    except (msgspec.MsgspecError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    return entry


def can_be_written(append: Append) -> bool:
    """Return whether there can be an entry with `append`."""
    try:
        encode_entry([append])
    except ValueError:
        return False
    return True


def decode_entry(entry: bytes) -> list[Append]:
    """Return the appends of an entry. Raises `ValueError` if it isn't one."""
    try:
        return [_read(one) for one in _decode(entry)]
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


def newer_appends(database: sqlite3.Connection, last: int) -> list[Append]:
    """Return what the journal holds after the entry number `last`, oldest first.

    What can't be read is left to the fold, which reports it.
    """
    appends: list[Append] = []
    rows = database.execute("SELECT entry FROM journal WHERE number > ? ORDER BY number", (last,))
    for [entry] in rows:
        try:
            appends += decode_entry(entry)
        except ValueError:
            continue
    return appends


def _written(append: Append) -> tuple[object, ...]:
    parts = parts_of(append.first_seq, append.ops, append.syncs)
    ops, by, epochs, times, syncs = parts
    if append.head is None and append.before is not None:
        # As `head_of`, which would take it apart again.
        append.head = head_over(append.before, append.gathering, append.first_seq, parts)
    snapshot = append.snapshot
    return (
        append.gathering,
        append.first_seq,
        tuple(zip(by, ops, strict=True)),
        syncs,
        None if snapshot is None else (snapshot.seq, snapshot.state),
        epochs,
        times,
        append.head or b"",
        b"" if snapshot is None else snapshot.digest,
    )


def _read(one: _Written) -> Append:
    epochs = of_each(one.epochs, one.first_seq, before="")
    times = of_each(one.times, one.first_seq, before=0)
    return Append(
        one.gathering,
        one.first_seq,
        tuple(
            [
                LoggedOp(op, by, epoch, time)
                for (by, op), epoch, time in zip(one.ops, epochs, times, strict=False)
            ]
        ),
        tuple([SyncRecord(*sync[:4], _fingerprint(sync[4])) for sync in one.syncs]),
        None if one.snapshot is None else Snapshot(*one.snapshot, one.digest),
        one.head,
    )


def _fingerprint(stored: bytes | int) -> bytes:
    return checksum_bytes(stored) if isinstance(stored, int) else stored


@define(eq=False)
class Unfolded:
    """The appends that this process knows to be in the journal and not in the tables yet.

    Only the writer's thread changes it, after each commit. A reader on another thread may see it
    before or after that, and finds in the file what it doesn't see here: it takes `last` first,
    then the appends, and then looks into the file.
    """

    last: int = 0
    """The number of the last entry known; those after it must be read from the file."""
    older: Unfolded | None = None
    """What came before it, while that is being folded piece by piece."""
    remaining: list[str] = field(factory=list)
    """While this is being folded: the gatherings whose turn hasn't come."""
    size: int = 0
    """About how many bytes the appends have, here and in `older`."""
    count: int = 0
    """How many appends there are, here and in `older`."""
    appends: dict[str, list[Append]] = field(factory=dict)
    _syncs: set[SyncKey] = field(factory=set)

    @property
    def gatherings(self) -> int:
        """How many gatherings' appends there are, at least."""
        older = 0 if self.older is None else len(self.older.appends)
        return max(older, len(self.appends))

    def note(self, number: int, size: int, appends: Sequence[Append]) -> None:
        """An entry has been committed."""
        for append in appends:
            gathering = append.gathering
            self.appends.setdefault(gathering, []).append(append)
            for sync in append.syncs:
                self._syncs.add((gathering, sync.scope, sync.id))
        self.size += size
        self.count += len(appends)
        self.last = number

    def of(self, gathering: str) -> tuple[int, tuple[Append, ...]]:
        """Return `last`, and the appends of one gathering up to there, or some more.

        Those that have been folded meanwhile are in the tables, too.
        """
        last, older = self.last, self.older
        before = () if older is None else older.appends.get(gathering, ())
        return last, (*before, *self.appends.get(gathering, ()))

    def has_any(self, syncs: set[SyncKey]) -> bool:
        """Return whether any of these is here."""
        if not syncs.isdisjoint(self._syncs):
            return True
        return self.older is not None and self.older.has_any(syncs)

    def begin_folding(self, order: Sequence[str]) -> Unfolded:
        """Return what takes the next entries, while this is folded in the reverse of an order."""
        self.remaining = list(order)
        return Unfolded(self.last, self, size=self.size, count=self.count)

    def next_piece(self, rows: int) -> dict[str, list[Append]]:
        """Take gatherings with about so many ops and syncs off those that remain."""
        piece: dict[str, list[Append]] = {}
        while self.remaining and rows > 0:
            gathering = self.remaining.pop()
            piece[gathering] = self.appends[gathering]
            rows -= sum(len(append.ops) + len(append.syncs) for append in piece[gathering])
        return piece

    def end_folding(self) -> None:
        """All that is older is in the tables: readers that have looked at it find it there."""
        assert self.older is not None
        self.size -= self.older.size
        self.count -= self.older.count
        self.older = None

    def everything(self) -> dict[str, list[Append]]:
        """Return all appends that aren't in the tables."""
        if self.older is None:
            return self.appends
        everything = {one: list(self.older.appends[one]) for one in self.older.remaining}
        for gathering, appends in self.appends.items():
            everything.setdefault(gathering, []).extend(appends)
        return everything
