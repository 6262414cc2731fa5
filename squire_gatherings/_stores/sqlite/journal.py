"""The journal's entries: the appends of one group commit as one piece of MessagePack.

Entries of schema 3, in which ops have no epoch and fingerprints are numbers, are read, too.
"""

import sqlite3
from collections.abc import Sequence
from typing import Annotated

import msgspec

from squire_gatherings._stores.sqlite.epoch_runs import epochs, runs
from squire_gatherings._stores.sqlite.schema import checksum_bytes
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings._values.op import Op

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite can hold."""
_Op = tuple[str | None, bytes]
_Sync = tuple[str, str, _Integer, _Integer, bytes | int]
_Snapshot = tuple[_Integer, bytes]
_Run = tuple[_Integer, str]


class _Written(msgspec.Struct, array_like=True, gc=False):
    """An append, as an array."""

    gathering: str
    first_seq: _Integer
    ops: tuple[_Op, ...]
    syncs: tuple[_Sync, ...]
    snapshot: _Snapshot | None
    runs: tuple[_Run, ...] = ()
    """Of epochs."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Written]).decode


def encode_entry(appends: Sequence[Append]) -> bytes:
    """Return the entry of these appends.

    Raises `ValueError` where any of them holds what the tables can't (an integer of more than
    64 bits, a lone surrogate): what is in the journal can be folded.
    """
    try:
        entry = _encode([_written(append) for append in appends])
        # An entry that can be read is one whose values have the right types.
        _decode(entry)
    except (msgspec.MsgspecError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    return entry


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
    snapshot = append.snapshot
    return (
        append.gathering,
        append.first_seq,
        [(logged.by, logged.op.json) for logged in append.ops],
        [(s.scope, s.id, s.first_seq, s.count, s.fingerprint) for s in append.syncs],
        None if snapshot is None else (snapshot.seq, snapshot.state),
        runs(append.ops, append.first_seq),
    )


def _read(one: _Written) -> Append:
    of_each = epochs(one.runs, one.first_seq)
    return Append(
        one.gathering,
        one.first_seq,
        tuple(
            [LoggedOp(Op(op), by, epoch) for (by, op), epoch in zip(one.ops, of_each, strict=False)]
        ),
        tuple([SyncRecord(*sync[:4], _fingerprint(sync[4])) for sync in one.syncs]),
        None if one.snapshot is None else Snapshot(*one.snapshot),
    )


def _fingerprint(stored: bytes | int) -> bytes:
    return checksum_bytes(stored) if isinstance(stored, int) else stored
