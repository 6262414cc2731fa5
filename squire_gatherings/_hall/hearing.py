"""Hearing out: before a gathering ends, what has reached this host by then is taken in.

A timer fires when it can, which may be late (a pause of the machine, a slow fold), and in the same
turn in which a message becomes readable.
"""

import trio

from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.lateness import give_a_turn, give_turns, is_late
from squire_gatherings._hall.room import Room

REST_WITHIN = 1.0
"""How many seconds we wait for the rest of a message that had begun to arrive, where the deadline
is seen late."""

LOOK_AGAIN = 0.05
"""How many seconds pass until we look again whether that rest is there."""


async def hear_out(room: Room, *, to_the_end: bool = False) -> bool:
    """Take in what reached this host before the deadline and wasn't read yet.

    Args:
        room: Whose clients are heard.
        to_the_end: Everybody is heard; otherwise the first message is enough.

    Returns:
        Whether it's late, and a message had begun to arrive: its rest is waited for, too.
    """
    due = room.deadline.at
    if not is_late(due):
        await give_a_turn(due)
        await _read_arrived(room, to_the_end)
        return False
    await give_turns(due)
    return await _read_arrived(room, to_the_end)


async def _read_arrived(room: Room, to_the_end: bool) -> bool:
    """Take in what has arrived; return whether somebody's message isn't there as a whole."""
    is_receiving = False
    for number, client in enumerate(tuple(room.clients.values()), start=1):
        while client.read_arrived() and not room.inbox.waiting:
            await trio.lowlevel.checkpoint()
        if room.inbox.waiting and not to_the_end:
            # That's enough to live on, for now.
            return False
        is_receiving = is_receiving or client.receiving > 0
        if not number % CROWD:
            await trio.lowlevel.checkpoint()
    return is_receiving
