"""The courtesy: one final close notice to every connection, each tried once."""

from collections.abc import Iterable

import trio

from squire_gatherings._hall.clients import Client
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.outgoing import Outgoing


def say_goodbye(client: Client, notice: Dispersed) -> None:
    """Send `notice` and a close frame to one who comes too late to be among the clients."""
    reason = DispersalReason(notice.reason)
    client.send(Outgoing(notice))
    client.close(reason.close_code, reason)


async def give_notice(
    clients: Iterable[Client], notice: Dispersed, reason: DispersalReason, grace: float
) -> None:
    """Send `notice` and a close frame to all, and wait at most `grace` seconds for the slow.

    Shielded from cancellation, so that clients hear of a shutdown too; whoever still has
    a backlog after `grace` is cut off.
    """
    outgoing = Outgoing(notice)
    slow: list[Client] = []
    for client in clients:
        client.send(outgoing)
        client.close(reason.close_code, reason)
        if client.backlog:
            slow.append(client)
    if not slow:
        return
    with trio.move_on_after(grace, shield=True):
        async with trio.open_nursery() as nursery:
            for client in slow:
                nursery.start_soon(client.flush)
    for client in slow:
        if client.backlog:
            client.abort()
