"""Joining: what the store is read for a client, before its join is processed."""

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import read_head, read_page
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.log import LoggedOp
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


async def read_for_join(room: Room, since: int | None, epoch: str | None) -> tuple[LoggedOp, ...]:
    """Read what a joining client lacks and only the store has.

    Args:
        room: Where the client joins.
        since: The last seq that it has.
        epoch: What it takes for that op's epoch.

    Raises:
        LogReplaced: It knows another log.
        StoreUnavailable: The store can't be read now.

    Cancellation: nothing happened.
    """
    log = room.log
    after = since or 0
    expected = epoch if after else None
    page: tuple[LoggedOp, ...] = ()
    is_served = not room.serves_snapshots and after + 1 < log.tail_start
    found = log.epoch_of(after)
    if is_served or (expected is not None and found is None and after < log.tail_start):
        # From the client's last op on: its epoch says whether it's the same log.
        page = await read_page(
            room.store,
            room.id,
            after=max(0, after - 1),
            up_to=log.committed if is_served else after,
            max_bytes=room.settings.batch_bytes,
        )
        if after:
            found = page[0].epoch if page else None
            page = page[1:]
        if is_served and after and not page:
            # The client's last op alone filled it.
            page = await read_page(
                room.store,
                room.id,
                after=after,
                up_to=log.committed,
                max_bytes=room.settings.batch_bytes,
            )
    if expected is None:
        return page
    # Nobody is told of an op that isn't durable. It's decided here, where the log's end is what
    # it is: until the join is processed, another op may get that seq.
    if after > log.committed:
        raise LogReplaced(f"since is {after}, but the last op is {log.committed}")
    if found != expected:
        raise LogReplaced(f"op {after} isn't the one that the client has: it's another log")
    return page
