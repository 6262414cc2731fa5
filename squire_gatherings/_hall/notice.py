"""The final notice: what the clients of a gathering are told at its end, each of them once."""

from collections.abc import Iterable, Sequence

import trio

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.tally import Tally
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.numbers import Ended
from squire_gatherings._values.outgoing import Outgoing


def how_it_ended(room: Room, reason: DispersalReason, now: float) -> Ended:
    """Return what operators are told of an end."""
    late = now - room.deadline.at
    return Ended(
        room.id,
        room.incarnation,
        reason,
        room.terms.wall(),
        # What ends for another reason may end long before its deadline.
        late if late >= 0 and reason.is_rule else None,
        now - room.deadline.opened_at,
        room.processed,
        room.log.committed,
    )


async def send_notice(
    clients: Sequence[Client], notice: Dispersed, reason: DispersalReason, tally: Tally
) -> list[Client] | None:
    """Send a notice and a close frame to all.

    No checkpoint without a crowd. Cancellation: ignored, so that clients hear of a shutdown, too.

    Returns:
        Those to whom it couldn't be sent at once, if there are any.
    """
    slow: list[Client] | None = None
    outgoing = Outgoing(notice)
    for number, client in enumerate(clients, start=1):
        client.part(outgoing, reason.close_code, reason)
        if client.backlog:
            slow = slow or []
            slow.append(client)
        else:
            tally.notices["sent"] += 1
        if not number % CROWD:
            await trio.lowlevel.cancel_shielded_checkpoint()
    return slow


async def flush(slow: Iterable[Client], until: float, tally: Tally) -> None:
    """Wait for those that have a backlog, and cut them off if they still have it at that time.

    Shielded from cancellation, so that clients hear of a shutdown, too.
    """
    with trio.CancelScope(deadline=until, shield=True):
        async with trio.open_nursery() as nursery:
            for client in slow:
                nursery.start_soon(client.flush)
    for client in slow:
        if client.backlog:
            client.abort()
            tally.notices["cut_off"] += 1
        else:
            tally.notices["sent_late"] += 1
