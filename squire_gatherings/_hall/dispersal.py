"""The courtesy: one final close notice to every connection, each tried once."""

from collections.abc import Iterable

import trio

from squire_gatherings._hall.clients import Onlooker
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.outgoing import Outgoing


def say_goodbye(onlooker: Onlooker, notice: Dispersed) -> None:
    """Send `notice` and a close frame to one who comes too late to be among the onlookers."""
    reason = DispersalReason(notice.reason)
    onlooker.send(Outgoing(notice))
    onlooker.close(reason.close_code, reason)


async def give_notice(
    onlookers: Iterable[Onlooker], notice: Dispersed, reason: DispersalReason, grace: float
) -> None:
    """Send `notice` and a close frame to all, and wait at most `grace` seconds for the slow.

    Shielded from cancellation, so that clients hear of a shutdown too; whoever still has
    a backlog after `grace` is cut off.
    """
    outgoing = Outgoing(notice)
    slow: list[Onlooker] = []
    for onlooker in onlookers:
        onlooker.send(outgoing)
        onlooker.close(reason.close_code, reason)
        if onlooker.backlog:
            slow.append(onlooker)
    if not slow:
        return
    with trio.move_on_after(grace, shield=True):
        async with trio.open_nursery() as nursery:
            for onlooker in slow:
                nursery.start_soon(onlooker.flush)
    for onlooker in slow:
        if onlooker.backlog:
            onlooker.abort()
