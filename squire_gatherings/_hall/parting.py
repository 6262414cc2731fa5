"""Parting: how a gathering comes to its end, by its own task, or at once with many that are due."""

from collections.abc import Callable

import trio

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hearing import (
    LOOK_AGAIN,
    REST_WITHIN,
    has_nothing_to_say,
    hear_out,
    is_over,
)
from squire_gatherings._hall.notice import conclude, give_notice, tell
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.outgoing import Outgoing


async def part(gathering: Gathering, reason: DispersalReason) -> DispersalReason:
    """Have it end when it is its turn; return the reason."""
    with gathering.room.turnstile.turn(gathering.room):
        await tell_end(gathering, reason)
    return reason


async def part_unless_heard(gathering: Gathering) -> DispersalReason | None:
    """Hear everybody out, and give notice if nobody says anything.

    Returns:
        The rule that has ended it; None if it isn't over.
    """
    give_up_at = trio.current_time() + REST_WITHIN
    while True:
        with gathering.room.turnstile.turn(gathering.room):
            is_receiving = await hear_out(gathering.room)
            # The point of no return: no checkpoint between this look and the notice.
            if not is_over(gathering.room, gathering.answers) or not gathering.room.may_show:
                return None
            if not is_receiving or trio.current_time() >= give_up_at:
                # The program may have changed the rules meanwhile.
                rule = rule_of(gathering)
                await tell_end(gathering, rule)
                return rule
        # Others have their turns meanwhile.
        await trio.sleep(LOOK_AGAIN)


def rule_of(gathering: Gathering) -> DispersalReason:
    """Return the rule that ends it."""
    rule = gathering.room.deadline.which
    assert rule is not None
    return rule


async def tell_end(gathering: Gathering, reason: DispersalReason) -> None:
    """Go beyond the point of no return. See `give_notice`; only the first call does it."""
    if gathering.room.notice is None:
        if not gathering.room.may_show:
            # Another node may have it, and tell how it ends.
            reason, gathering.room.is_kept = DispersalReason.MOVED, True
        gathering.notice_at = trio.current_time()
        fails = gathering.acting is not None and gathering.acting.is_failing
        if gathering.sleep is not None and gathering.room.is_resting and not gathering.room.is_kept:
            # At the moment at which the end is told: that comes into the store by itself, and
            # nobody may say later that it sleeps.
            gathering.sleep.strike(gathering)
        slow = await give_notice(gathering.room, gathering.answers, reason, is_failing=fails)
        gathering.slow = slow or None


def part_at_once(gathering: Gathering) -> Callable[[], None] | None:
    """Give notice while its task waits for messages, if it is due and at rest.

    No checkpoint. For many that are due at once: the task's turn would cost more than this.

    Returns:
        What wakes its task, which has only to go then. None if it must come to its end by
        itself: it is at work, or somebody has said something, or it can't be told yet whether
        anybody has.
    """
    room, acting = gathering.room, gathering.acting
    if (
        not room.may_show
        or not (room.accepting and room.waits and room.inbox.is_awaited)
        or (acting is not None and acting.is_due)
        or gathering.at_work() is not None
        or not has_nothing_to_say(room)
        or not is_over(room, gathering.answers)
    ):
        return None
    # The point of no return.
    gathering.notice_at = trio.current_time()
    fails = acting is not None and acting.is_failing
    clients = conclude(room, gathering.answers, rule_of(gathering), is_failing=fails)
    assert room.notice is not None
    gathering.slow = tell(room, clients, Outgoing(room.notice)) or None
    return room.inbox.wake
