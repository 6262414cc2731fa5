"""Proving: whether the log is still the one that a joining client knows a proof of."""

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import read_head
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.messages import Proof

KNOWN_HEADS = 64
"""How many heads of the chain are remembered that clients have asked about."""


async def check_known(room: Room, known: Proof) -> None:
    """Look whether the log still has what a joining client was told of it.

    Args:
        room: Where the client joins.
        known: The proof that it was told.

    Raises:
        LogReplaced: It was told it of another log, or this one was changed.
        StoreUnavailable: The store can't be read now.

    Cancellation: nothing happened.
    """
    log, seq = room.log, known.seq
    if seq >= log.committed or not log.head:
        found: bytes | None = log.head if seq == log.committed else b""
    elif seq in room.heads:
        found = room.heads[seq]
    else:
        found = await read_head(room.store, room.id, seq=seq)
        if len(room.heads) >= KNOWN_HEADS:
            room.heads.clear()
        room.heads[seq] = found
    if found is not None and found.hex() != known.head:
        raise LogReplaced(f"up to op {seq} the log isn't the one that the client knows")
