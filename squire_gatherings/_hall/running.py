"""Running: the task of one incarnation, from its restore to its dispersal, or to its sleep."""

import logging

import trio

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.hearing import LAST_LOOKS, LOOK_AGAIN, hear_the_last
from squire_gatherings._hall.inheritance import Inheritance
from squire_gatherings._hall.notice import flush
from squire_gatherings._hall.parting import part, part_unless_heard, rule_of, tell_end
from squire_gatherings._hall.waking import come_round
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import LogDeleted, TakenAway
from squire_gatherings._values.numbers import Stage

_log = logging.getLogger(__name__)

UNCOUNTED = 4096
"""About how many bytes may be added to the log until its ops in memory are counted again."""


async def run(
    gathering: Gathering, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Restore the room, call `task_status.started()`, process what arrives, and disperse.

    One that has slept is restored only if somebody wants something of its log. It may fall
    asleep (again): then this returns without a trace.

    Raises:
        StoreUnavailable: It can't be restored now.
        GatheringCrashed: Its behaviour can't be restored. A later crash isn't raised: it ends
            in a notice and a log entry.

    Cancellation: before `started`, it ends without a trace. Afterwards clients get a notice
        with reason `shutdown` first, within `close_grace`.
    """
    room = gathering.room
    try:
        if not room.is_resting:
            room.enter(Stage.OPENING)
            await gathering.restore()
            if room.life is not None:
                await room.life.opened(room.log.seq)
            else:
                # See `opening.start`: one whose caller has just gone isn't opened.
                await trio.lowlevel.checkpoint_if_cancelled()
        reason = DispersalReason.SHUTDOWN
        try:
            async with trio.open_nursery() as room.nursery:
                if room.is_resting:
                    await come_round(gathering)
                else:
                    room.accepting = True
                    room.enter(Stage.OPEN)
                task_status.started()
                # It keeps alive what `nursery.start` needed: a seventh of our whole memory.
                del task_status
                inheritance = gathering.inheritance
                if not room.is_resting and (
                    inheritance is None or await _wait_until_ours(gathering, inheritance)
                ):
                    reason = await _live(gathering)
                if room.nursery.child_tasks:
                    room.nursery.cancel_scope.cancel()
                elif not room.is_awaited:
                    await room.turnstile.wait_to_go(room)
        except* LogDeleted as errors:
            reason = DispersalReason.ADMIN
            why = str(errors.exceptions[0])
            _log.warning("the log was changed beside us", extra=room.names() | {"why": why})
        except* TakenAway as errors:
            # Another node tells what becomes of it.
            room.quotas.tally.taken_away += 1
            reason, room.is_kept = DispersalReason.MOVED, True
            why = str(errors.exceptions[0])
            _log.warning("gathering taken away", extra=room.names() | {"why": why})
        except* Exception as errors:
            reason = DispersalReason.CRASHED
            _log.error("gathering crashed", exc_info=errors, extra=room.names())
        finally:
            # Nobody is left to talk to, wherever the cancellation or the crash struck.
            if not room.is_asleep:
                await tell_end(gathering, reason)
                if gathering.slow is not None:
                    grace = room.settings.close_grace
                    until = min(gathering.notice_at + grace, room.notice_by)
                    await flush(gathering.slow, until, room.quotas.tally)
    finally:
        if gathering.acting is not None:
            lives_on = room.is_asleep or room.is_moved or room.is_kept
            gathering.acting.closed(None if lives_on else room.reason)
        if not room.is_asleep:
            gathering.leave()
            room.enter(None)
            gathering.on_gone(room.id)


async def _wait_until_ours(gathering: Gathering, inheritance: Inheritance) -> bool:
    """Wait until the incarnation is ours, and somebody says something or wakes it.

    Returns:
        Whether it is. If not, it is to end.
    """
    room = gathering.room
    while not inheritance.is_ours:
        if room.reason is not None:
            return False
        await room.inbox.wait()
        # It may have followed the other process meanwhile.
        inheritance = gathering.inheritance or inheritance
    gathering.inheritance = None
    room.begun()
    if gathering.acting is not None:
        gathering.acting.opened()
    for client in tuple(room.clients.values()):
        room.terms.add(client)
        gathering.delivery.resume(client)
    return True


async def _live(gathering: Gathering) -> DispersalReason:
    """Process messages until the deadline passes or somebody says `end`; give notice then.

    Where nothing is processed for long, it falls asleep instead, and the return means nothing.
    """
    room, inbox, log = gathering.room, gathering.room.inbox, gathering.room.log
    commit, requests, delivery = gathering.commit, gathering.requests, gathering.delivery
    turnstile, acting = room.turnstile, gathering.acting
    if acting is not None:
        acting.plan()
    looks = LAST_LOOKS
    while True:
        room.look()
        due = min(room.deadline.next_at, commit.retry_at)
        with trio.move_on_at(turnstile.enter(room, due)) as room.scope:
            while True:
                nothing_to_do = not inbox.waiting and room.reason is None
                if (commit.is_under_way or nothing_to_do) and await inbox.wait(gathering):
                    break
                if gathering.advance():
                    continue
                if gathering.leaves_scope():
                    break
                await trio.lowlevel.checkpoint()
        room.scope = None
        turnstile.leave(room)
        # It may wait for long only here, outside the scope: the deadline never interrupts
        # what is being processed.
        await gathering.settle()
        if delivery.batch:
            await delivery.bring_the_rest()
            if delivery.batch:
                continue
            log.trim()
            if log.added - room.counted_at > UNCOUNTED:
                room.count_tail()
        if requests.awaits_lookup:
            await requests.look_up()
        elif commit.is_due:
            await commit.make()
            await gathering.settle()
        elif room.reason is not None and not inbox.waiting:
            return await part(gathering, room.reason)
        elif acting is not None and acting.is_due:
            if room.quotas.is_leaving:
                await trio.sleep(LOOK_AGAIN)
            else:
                gathering.turn()
        elif room.accepting and room.is_due() and room.deadline.is_final:
            looks = await hear_the_last(room, gathering.answers, looks)
            if not looks:
                # The point of no return. What is in the inbox is still processed.
                rule = rule_of(gathering)
                room.end(rule)
                if not inbox.waiting:
                    return await part(gathering, rule)
        elif inbox.waiting:
            await trio.lowlevel.checkpoint()
        elif not room.is_due():
            room.warn_if_due()
            looks = LAST_LOOKS
            if trio.current_time() >= room.deadline.sleep_at and gathering.falls_asleep():
                return DispersalReason.SHUTDOWN
        elif gathering.answers.reading:
            await inbox.wait()
        else:
            ended_by = await part_unless_heard(gathering)
            if ended_by is not None:
                return ended_by
