"""Changed logs: gatherings live whose logs another program has changed beside us; these end."""

import trio

from squire_gatherings._hall.archive import Archive, archive_trouble
from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.endings import DispersalReason


async def end_changed(registry: Registry, archive: Archive, *, asleep: bool) -> tuple[str, ...]:
    """Look for changed logs whose gatherings live, and end those. As `Logs.look`."""
    ended: list[str] = []
    for gathering_id, incarnation in tuple(registry.living.items()):
        await trio.lowlevel.checkpoint()
        if isinstance(incarnation, Sleeper) and not asleep:
            continue
        if gathering_id in registry.moving:
            # The node that has it next looks at it.
            continue
        room = incarnation.room
        if isinstance(incarnation, Incarnation) and (not room.accepting or room.is_resting):
            continue
        with archive_trouble():
            if isinstance(incarnation, Sleeper):
                is_there = await _sleeps(archive, gathering_id, room.log)
            else:
                is_there = await archive.has_log(
                    gathering_id,
                    first_seq=room.log.first_seq,
                    seq=room.log.head_seq,
                    head=room.log.head,
                )
            # Anything that was added to an empty one, but by itself, is another log.
            if is_there and not room.log.seq:
                is_there = await _is_empty(archive, gathering_id) or room.log.seq > 0
        if gathering_id in registry.moving:
            continue
        if not is_there and registry.living.get(gathering_id) is incarnation:
            room = incarnation.rouse() if isinstance(incarnation, Sleeper) else room
            room.end(DispersalReason.ADMIN)
            ended.append(gathering_id)
    return tuple(ended)


async def _is_empty(archive: Archive, gathering_id: str) -> bool:
    """Whether a store has no log of a gathering."""
    info = await archive.describe(gathering_id)
    return info is None or info.is_deleted


async def _sleeps(archive: Archive, gathering_id: str, log: OpLog) -> bool:
    """Whether a store has the log of a gathering that sleeps. It may have been compacted."""
    if log.head or not log.seq:
        return await archive.has_log(gathering_id, first_seq=None, seq=log.seq, head=log.head)
    # A store that computes heads when it is asked for them.
    info = await archive.describe(gathering_id)
    return info is not None and info.seq == log.seq
