"""Restoring: a room's log, and its behaviour's state, become what the store has."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._rules.behaviour import Behaviour, Stamp, restore_state
from squire_gatherings._rules.chain import HEAD_SIZE
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.errors import GatheringCrashed, LogDeleted, TakenAway
from squire_gatherings._values.log import Restored

_log = logging.getLogger(__name__)

FOLDED_AT_ONCE = 500
"""How many ops are folded before others get their turn."""


async def restore(room: Room, make_behaviour: Callable[[], Behaviour]) -> int:
    """Restore a room from the store; return the seq of the snapshot that it began with.

    Raises:
        StoreUnavailable: It can't be restored now.
        GatheringCrashed: Its behaviour can't be restored.
        LogDeleted: The log isn't the one with which the room fell asleep.
        TakenAway: Another node has it.

    Cancellation: the room is to be restored again.
    """
    tally, began = room.quotas.tally, trio.current_time()
    restored = await _load(room)
    if room.is_resting and not room.log.is_in(restored):
        raise LogDeleted(f"it has {restored.seq} ops, and had {room.log.committed} others")
    log = OpLog(room.settings.tail_bytes, room.settings.recent_syncs, room.incarnation)
    snapshot_seq = 0
    with restore_trouble(room):
        behaviour = room.behaviour = make_behaviour()
        room.serves_snapshots = bool(behaviour.serves_snapshots)
        if restored.snapshot is not None:
            snapshot_seq = restored.snapshot.seq
            restore_state(behaviour, restored.snapshot.state)
        for seq, logged in enumerate(restored.ops, start=snapshot_seq + 1):
            behaviour.fold(logged.op, Stamp(seq, logged.time, logged.by))
            if not (seq - snapshot_seq) % FOLDED_AT_ONCE:
                await trio.lowlevel.checkpoint()
        log.restore(restored)
        room.log = log
    room.count_tail()
    tally.restores.add(trio.current_time() - began)
    tally.restored_ops.add(len(restored.ops))
    return snapshot_seq


@contextmanager
def restore_trouble(room: Room) -> Iterator[None]:
    """Raise `GatheringCrashed` for whatever a behaviour raises within the block."""
    try:
        yield
    except Exception as error:
        _log.exception("gathering can't be restored", extra=room.names())
        raise GatheringCrashed(f"gathering {room.id} can't be restored") from error


async def _load(room: Room) -> Restored:
    with store_trouble(TakenAway):
        restored = await room.store.load(room.id, recent_syncs=room.settings.recent_syncs)
        if not isinstance(restored, Restored):
            raise TypeError(f"load returned {restored!r:.80}")
        if room.settings.max_log is not None:
            room.log_bytes = await room.store.size(room.id)
        if not isinstance(restored.head, bytes) or len(restored.head) not in (0, HEAD_SIZE):
            raise TypeError(f"load returned {restored.head!r:.80} as the head of the chain")
        return restored
