"""Proving: what shows a client which log it was in, and whether this one is still that one."""

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import read_head
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.messages import Proof

KNOWN_HEADS = 64
"""How many heads of the chain are remembered that clients have asked about."""


def is_unproven(room: Room) -> bool:
    """Whether there are durable ops after the newest head that the room knows.

    So it is with a store that computes heads only when it is asked.
    """
    return room.log.head_seq < room.log.committed


async def read_proof(room: Room) -> None:
    """Ask the store for the head after the last op that is durable now.

    Raises:
        StoreUnavailable: The store can't be read now.

    Cancellation: nothing happened.
    """
    log, seq = room.log, room.log.committed
    head = await read_head(room.store, room.id, seq=seq)
    if head is not None:
        log.proven(seq, head)


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
    if seq > log.committed or not (log.head or is_unproven(room)):
        found: bytes | None = b""
    elif seq == log.head_seq:
        found = log.head
    elif room.heads is not None and seq in room.heads:
        found = room.heads[seq]
    else:
        found = await read_head(room.store, room.id, seq=seq)
        if room.heads is None or len(room.heads) >= KNOWN_HEADS:
            room.heads = {}
        room.heads[seq] = found
    if found is not None and found.hex() != known.head:
        raise LogReplaced(f"up to op {seq} the log isn't the one that the client knows")
