"""The end: all who asked are answered, and all clients are told, each of them once."""

from collections.abc import Iterable, Sequence

import trio

from squire_gatherings._collector import note_end
from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.forwards import CROWD
from squire_gatherings._hall.reports import report_end
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.tally import Tally
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringCrashed, GatheringDispersed
from squire_gatherings._values.numbers import Ended, Stage
from squire_gatherings._values.outgoing import Outgoing


async def give_notice(
    room: Room, answers: Answers, reason: DispersalReason, *, is_failing: bool
) -> list[Client]:
    """Go beyond the point of no return: answer all who asked, and give the final notice.

    No checkpoint before that point, and none at all without a crowd. Cancellation: ignored, so
    that clients hear of a shutdown, too.

    Args:
        room: Whose end it is.
        answers: Those that are owed.
        reason: Why it ends.
        is_failing: Whether it would crash again if it were opened again: all callers are told.

    Returns:
        Those to whom the notice couldn't be sent at once.
    """
    slow: list[Client] = []
    clients = conclude(room, answers, reason, is_failing=is_failing)
    assert room.notice is not None
    outgoing = Outgoing(room.notice)
    while clients:
        some, clients = clients[:CROWD], clients[CROWD:]
        slow += tell(room, some, outgoing)
        if len(some) == CROWD:
            await trio.lowlevel.cancel_shielded_checkpoint()
    return slow


def conclude(
    room: Room, answers: Answers, reason: DispersalReason, *, is_failing: bool
) -> Sequence[Client]:
    """As `give_notice`, but return those who are still to be told; no checkpoint."""
    room.accepting = False
    room.reason = reason
    room.enter(Stage.ENDING)
    crashed = reason is DispersalReason.CRASHED
    lost = GatheringCrashed(f"gathering {room.id} crashed while it worked on this")
    ended = GatheringDispersed(f"gathering {room.id} has dispersed")
    answers.abandon(lost if crashed else ended, lost if is_failing else ended)
    room.inbox.clear()
    now = trio.current_time()
    room.notice = room.last_words(reason, now)
    if room.presence is not None:
        room.presence.end(room.id)
    clients = tuple(room.clients.values())
    for client in clients:
        client.was_crashed, client.is_bereft = crashed, True
        room.detach(client)
    if not (room.is_kept or room.is_moved):
        how = _how_it_ended(room, reason, now)
        room.quotas.tally.ended(how)
        if room.life is not None:
            # It is queued here, and written when the notices have gone out.
            room.life.dispersed(how)
        report_end(how, len(clients))
    note_end()
    return clients


def tell(room: Room, clients: Iterable[Client], outgoing: Outgoing) -> list[Client]:
    """Send the last notice and a close frame to each of those.

    Returns:
        Those to whom it couldn't be sent at once.
    """
    reason = room.reason
    assert reason is not None
    slow, sent = [], 0
    for client in clients:
        client.part(outgoing, reason.close_code, reason)
        if client.backlog:
            slow.append(client)
        else:
            sent += 1
    room.quotas.tally.notices["sent"] += sent
    return slow


def _how_it_ended(room: Room, reason: DispersalReason, now: float) -> Ended:
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
