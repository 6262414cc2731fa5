"""Turns: what a gathering processes of its inbox before others are served."""

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Client, Sender
from squire_gatherings._hall.inbox import Request
from squire_gatherings._hall.life import FirstJoin
from squire_gatherings._hall.requests import Requests
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.sync_ids import LookupNeeded
from squire_gatherings._values.messages import Sync

HEAVY = 16
"""A turn that so few messages fill was filled by heavy ones."""

TURN_LIMIT = 256
"""How many messages are processed at most before other gatherings get their turn."""

TURN_COST = 256 * 1024
"""What they may cost, in bytes: 1,500 small ops, or one large message."""

Mover = tuple[int, Sender, Request]
"""How many messages counted as activity, and the last of these."""


def take_turn(room: Room, requests: Requests, answers: Answers) -> Mover | None:
    """Process what has arrived, without a checkpoint; return what counted as activity.

    Raises:
        Exception: What the behaviour raises. `Answers.processing` is then the one over whose
            message it did.
    """
    taken = counted = 0
    inbox, log = room.inbox, room.log
    moved: tuple[Sender, Request] | None = None
    limit = answers.spent + log.added + TURN_COST
    messages = inbox.waiting[:TURN_LIMIT]
    is_full = False
    try:
        for message in messages:
            sender, request = message
            answers.processing = sender
            taken += 1
            if requests.process(sender, request):
                counted += 1
                moved = message
            if isinstance(sender, Client):
                # As `sender.processed()`, which would cost a crowd's acknowledgements more.
                sender.waiting -= 1
                if not sender.waiting:
                    sender.cost = 0
                    sender.fills_turns = False
                if sender.space is not None:
                    sender.make_space()
            if answers.spent + log.added > limit:
                is_full = True
                break
    except FirstJoin:
        taken -= 1
        requests.prepare_first_join()
    except LookupNeeded:
        taken -= 1
        requests.prepare_lookup(
            (sender.scope, request.id)
            for sender, request in messages[taken:]
            if isinstance(request, Sync)
        )
    except Exception:
        if isinstance(request, Sync):
            room.suspects = ((sender.scope, request.id),)
        raise
    finally:
        # Also when the behaviour raises: the rest is for the next incarnation.
        if inbox.cost:
            inbox.relieve(taken)
        del inbox.waiting[:taken]
        inbox.taken += taken
    answers.processing = None
    room.quotas.tally.messages += taken
    if is_full and taken <= HEAVY and inbox.waiting:
        _put_behind(room, sender)
    return None if moved is None else (counted, *moved)


def _put_behind(room: Room, sender: Sender) -> None:
    """Let others come before what else this sender has said: it has filled a turn.

    It also comes after those who filled a turn before, and whose messages still wait. The messages
    of each sender stay in order.
    """
    if isinstance(sender, Client) and sender.waiting:
        sender.fills_turns = True
    order: tuple[list[tuple[Sender, Request]], ...] = ([], [], [])
    for one in room.inbox.waiting:
        who = one[0]
        fills = isinstance(who, Client) and who.fills_turns
        order[2 if who is sender else int(fills)].append(one)
    room.inbox.waiting = [*order[0], *order[1], *order[2]]
