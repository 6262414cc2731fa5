"""Putting off: what those are told whose messages can't be processed now."""

import trio

from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.inbox import JoinRequest, Request
from squire_gatherings._hall.room import Room
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.messages import Ack, Fetch, Leave, Sync


def put_all_off(room: Room, error: StoreUnavailable) -> None:
    """Tell all whose messages wait that these can't be processed now."""
    inbox = room.inbox
    waiting = tuple(inbox.waiting)
    inbox.clear()
    for sender, request in waiting:
        _put_off(room, sender, request, error)


def refuse_all(room: Room) -> None:
    """Put all off: the gathering may be another node's. Whoever asks uses it all the same."""
    asked = [one for one in room.inbox.waiting if _is_use(one[1])]
    put_all_off(room, StoreUnavailable(f"gathering {room.id} may be another node's"))
    if asked:
        sender, request = asked[-1]
        room.processed += len(asked)
        room.used(trio.current_time(), request.__class__, sender.identity.user)


def _put_off(room: Room, sender: Sender, request: Request, error: StoreUnavailable) -> None:
    """Tell a sender that a message can't be processed now, if it needs the log."""
    if isinstance(sender, Client):
        sender.processed()
        if isinstance(request, Leave):
            sender.leaving = True
            room.let_go(sender)
    if not isinstance(request, Ack | Leave):
        sender.fail(error, getattr(request, "id", None))


def _is_use(request: Request) -> bool:
    """Whether a message counts as activity, though the store can't serve it."""
    if isinstance(request, JoinRequest):
        return request.is_activity
    return isinstance(request, Sync | Fetch)
