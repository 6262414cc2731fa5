"""Admission: lets a client that has asked to join into the room, and shows it the log."""

import math
from typing import Any

from msgspec import UNSET

from squire_gatherings._hall.answers import Answers
from squire_gatherings._hall.clients import Sender
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.inbox import JoinRequest
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.acks import ack_delay
from squire_gatherings._values.errors import BadBase, LogReplaced, Replaced, Unauthorized
from squire_gatherings._values.log import Shown
from squire_gatherings._values.messages import Joined

JOIN_COST = 1024
"""What a join costs besides what it's answered, as a number of bytes that take as long."""


def let_in(
    room: Room, answers: Answers, delivery: Delivery, sender: Sender, request: JoinRequest
) -> bool:
    """Let in the client that asks, once everything that it is told is durable.

    Returns:
        Whether that counts as activity.

    Raises:
        BadBase: The log doesn't go as far as what the client has.
        LogReplaced: The same, of a client that says which log it knows.
        StoreUnavailable: The state can't be told now.
        FirstJoin: The store must be told of it first.
    """
    if request.abandoned:
        return False
    answers.spent += JOIN_COST
    log = room.log
    seq = answers.visible
    since = request.since
    if since is not None and since > seq:
        why = f"since is {since}, but the last op is {seq}"
        raise BadBase(why) if request.epoch is None else LogReplaced(why)
    snapshots = room.serves_snapshots
    shown: dict[str, Any]
    if request.tail:
        shown = {**answers.fields(request.client, Shown()), "epoch": answers.epoch(seq)}
        has = seq
    elif snapshots and (since is None or since + 1 < log.tail_start):
        shown = {"snapshot": answers.snapshot(), "epoch": answers.epoch(seq)}
        has = seq
    else:
        wanted = since or 0
        since = max(wanted, log.first_seq - 1)
        page = request.page
        if since + 1 >= log.tail_start:
            page = answers.in_memory(request.client, since, seq)
        has = since + len(page.ops)
        shown = answers.fields(request.client, page)
        if has and not page.ops:
            shown["epoch"] = answers.epoch(has)
        if since > wanted:
            shown["first_seq"] = since + 1

    if room.life is not None:
        room.life.check_first()

    def attach(now: float) -> None:
        if request.abandoned:
            return
        client = request.client
        # Its rights may have been changed since it asked.
        client.identity = sender.identity
        if sender.identity.expires_at is not None and room.terms.have_ended(sender):
            sender.fail(Unauthorized("its rights have ended"))
            return
        client.window.begin(has)
        delay = ack_delay(room.quotas.budget.connections, room.settings.retry_limit)
        if delay is not None:
            client.window.wait_for(delay)
        client.joined_at = seq
        full = room.refusal_of(client)
        if full is not None:
            sender.fail(full)
            return
        if not room.attach(client):
            sender.fail(Replaced("a newer connection of the same client has joined"))
            return
        if request.presence is not None and room.presence is not None:
            room.presence.came(room.id, client, request.presence)
        deadline = room.deadline
        # The wall clock may have been set past the end since.
        room.look()
        room.counted("returned", client, now)
        if request.is_activity:
            # Before `joined` is made: it tells the deadline as this join has moved it.
            deadline.last_processed_at = now
            deadline.moved, deadline.mover = JoinRequest, client.identity.user
        if deadline.told is not None:
            room.look_at_warning(now, client)
        # An end that is late comes at once.
        timeout, left, final = (
            deadline.rules.idle_timeout,
            max(0.0, deadline.at - now),
            max(0.0, deadline.final_at - now),
        )
        if deadline.held_to <= now:
            left = min(timeout, left)
        joined = Joined(
            room.id,
            room.incarnation,
            seq,
            client.identity.role,
            client.identity.user,
            _finite(timeout),
            _finite(left),
            client=request.made_client_id or UNSET,
            max_ops=room.quotas.settings.max_ops,
            proof=answers.proof(client),
            rights_expire_in=room.terms.left(client),
            ends_in=UNSET if math.isinf(final) else final,
            ack_delay=UNSET if delay is None else delay,
            **shown,
        )
        client.answer(joined)
        if deadline.told is not None:
            client.answer(room.ending(deadline.told.rule, deadline.told.at))
        sender.answer(joined)
        delivery.bring(client, log.committed, now)

    answers.defer(sender, None, attach)
    return request.is_activity


def _finite(seconds: float) -> float | None:
    # A whole number may be larger than any that can be sent.
    return None if math.isinf(seconds) else float(seconds)
