"""Hearing out: before a gathering ends, what has reached this host by then is taken in.

A timer fires when it can, which may be late (a pause of the machine, a slow fold), and in the same
turn in which a message becomes readable.
"""

import trio

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.lateness import (
    give_a_turn,
    give_turns,
    is_late,
    were_turns_given,
)
from squire_gatherings._hall.room import Room

REST_WITHIN = 1.0
"""How many seconds we wait for the rest of a message that had begun to arrive, where the deadline
is seen late."""

LOOK_AGAIN = 0.05
"""How many seconds pass until we look again whether that rest is there."""

LAST_LOOKS = 8
"""How often we look for what arrived before an end that no message can put off. Each look may
bring something that must be processed before the next: but nobody puts the end off by talking."""


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


def has_nothing_to_say(room: Room) -> bool:
    """As `hear_out`, without a checkpoint; return whether nobody has said, or begun, anything.

    False, too, if others must have turns before that can be told.
    """
    if not were_turns_given(room.deadline.at):
        return False
    for client in tuple(room.clients.values()):
        if client.read_arrived() or client.receiving:
            return False
    return True


def is_over(room: Room, answers: Answers) -> bool:
    """Whether the deadline has passed, and nothing is left to be done."""
    if room.inbox.waiting or room.reason is not None or answers.reading:
        return False
    return room.is_due()


async def hear_the_last(room: Room, answers: Answers, looks: int) -> int:
    """Take in what reached this host before an end that no message puts off.

    It is processed before the next look. A fetch that is being read is waited for, too.

    Args:
        room: Whose end it is.
        answers: What is being read for its clients.
        looks: How many looks there may still be.

    Returns:
        How many there may be after this one; none where the end is to come now.
    """
    inbox = room.inbox
    put_in = inbox.put_in
    if looks and answers.reading and not inbox.waiting:
        with trio.move_on_at(room.deadline.at + REST_WITHIN):
            await inbox.wait()
            return looks - 1
    give_up_at = trio.current_time() + REST_WITHIN
    while looks:
        with room.turnstile.turn(room):
            is_receiving = await hear_out(room, to_the_end=True)
        if not (is_receiving and is_over(room, answers)) or trio.current_time() >= give_up_at:
            break
        await trio.sleep(LOOK_AGAIN)
    if not (room.is_due() and room.deadline.is_final):
        # The program has put it off meanwhile.
        return LAST_LOOKS
    return looks - 1 if looks and inbox.put_in > put_in else 0
