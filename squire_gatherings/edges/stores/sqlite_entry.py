"""The journal's entries: the appends of one group commit as one piece of MessagePack."""

import sqlite3
from collections.abc import Sequence
from typing import Annotated

import msgspec

from squire_gatherings.values.log import Append, LoggedOp, Snapshot, SyncRecord
from squire_gatherings.values.op import Op

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite can hold."""
_Op = tuple[str | None, bytes]
_Sync = tuple[str, str, _Integer, _Integer, _Integer]
_Snapshot = tuple[_Integer, bytes]
_Written = tuple[str, _Integer, tuple[_Op, ...], tuple[_Sync, ...], _Snapshot | None]

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
        return [
            Append(
                gathering,
                first_seq,
                tuple([LoggedOp(Op(op), by) for by, op in ops]),
                tuple([SyncRecord(*sync) for sync in syncs]),
                None if snapshot is None else Snapshot(*snapshot),
            )
            for gathering, first_seq, ops, syncs, snapshot in _decode(entry)
        ]
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
    )
