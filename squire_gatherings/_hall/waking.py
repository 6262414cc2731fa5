"""Waking: how a gathering's task goes on after a sleep."""

import math

import trio

from squire_gatherings._hall.gathering import Gathering, Sleep
from squire_gatherings._hall.hearing import LAST_LOOKS, hear_the_last
from squire_gatherings._hall.parting import part, part_unless_heard, rule_of
from squire_gatherings._hall.putting_off import put_all_off
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.numbers import Stage


async def come_round(gathering: Gathering) -> None:
    """Go on after a sleep: be restored, if somebody wants something of the log; end, if it is
    time; or sleep on."""
    room, inbox, sleep = gathering.room, gathering.room.inbox, gathering.sleep
    assert sleep is not None
    gathering.prepare()
    looks, is_struck = LAST_LOOKS, room.lease is None
    while True:
        if room.lease is not None:
            await gathering.hold_on()
        if not is_struck and _ends_asleep(gathering):
            is_struck = await _is_struck(gathering, sleep)
        elif inbox.waiting or (room.is_called and room.accepting and not room.is_due()):
            if await _is_restored_again(gathering, sleep):
                return
        elif room.reason is not None:
            await part(gathering, room.reason)
            return
        elif not room.is_due():
            room.warn_if_due()
            if sleep.lay_down(gathering):
                return
            await trio.lowlevel.checkpoint()
        elif room.deadline.is_final:
            looks = await hear_the_last(room, gathering.answers, looks)
            if not looks:
                room.end(rule_of(gathering))
        elif await part_unless_heard(gathering) is not None:
            return


def _ends_asleep(gathering: Gathering) -> bool:
    """Whether it is to end now without being restored."""
    room = gathering.room
    if room.inbox.waiting or room.is_kept:
        return False
    return room.reason is not None or (room.is_due() and not room.is_called)


async def _is_struck(gathering: Gathering, sleep: Sleep) -> bool:
    """Have the store forget that it sleeps, so that no other node goes on with it after its end
    was told; return whether that is done, or wait a moment."""
    sleep.strike(gathering)
    try:
        await sleep.struck(gathering)
    except StoreUnavailable:
        with trio.move_on_after(gathering.room.settings.commit_retry_interval):
            await gathering.room.inbox.wait()
        return False
    return True


async def _is_restored_again(gathering: Gathering, sleep: Sleep) -> bool:
    """Restore the state, and return whether that is done. The end comes before, if nobody has
    said anything that may put it off."""
    room, inbox = gathering.room, gathering.room.inbox
    try:
        with trio.move_on_at(math.inf if inbox.waiting else room.deadline.at) as scope:
            sleep.strike(gathering)
            await gathering.restore()
            await sleep.struck(gathering)
    except StoreUnavailable as error:
        room.is_called = False
        put_all_off(room, error)
        sleep.not_restored(gathering, error)
        return False
    if scope.cancelled_caught:
        return False
    room.is_resting = room.is_called = False
    room.deadline.awake_to = trio.current_time() + room.deadline.sleep_after
    room.enter(Stage.OPEN)
    sleep.woke(gathering)
    return True
