"""Ends: whether an incarnation may end as it does, by its rules, and neither early nor late."""

import math
from typing import TYPE_CHECKING

from tests.system.life import Life

if TYPE_CHECKING:
    from tests.system.truth import Truth

EPSILON = 1e-6
"""The error that a sum of a few floats may have, in seconds."""

WALL_EPSILON = 1e-5
"""The error where the wall clock is among them: it counts billions of seconds."""

RULES = ("idle", "empty", "unjoined", "alone", "max_age", "ends_at")
"""The reasons of those ends that come by themselves, at an instant."""

LOOKS_AGAIN = 31.0
"""The seconds within which the hall sees that the wall clock was set."""


def check_end(truth: "Truth", life: Life, reason: str) -> None:
    """Note a fault if this incarnation mustn't end now for this reason."""
    now, ahead = truth.now(), truth.ahead()
    what = f"{life.gathering} ended ({reason}) at {now:.3f}"
    if life.is_by_wall and life.stepped_at == now and reason in RULES:
        # It may have been decided before the wall clock was set.
        return
    if reason in RULES:
        held_to = life.held_from(ahead)
        truth.check(now >= held_to - WALL_EPSILON, f"{what}: held to {held_to}: {life}")
    match reason:
        case "empty" if life.rules.empty_timeout is None or not life.was_used:
            # A gathering that was never used has no empty timeout.
            truth.check(not life.was_used, f"{what}: there's no such end: {life}")
        case _ if reason in RULES:
            _check_rule(truth, life, reason, what)
        case "admin":
            truth.check(life.is_ending, f"{what}, and nobody wanted that")
        case "shutdown":
            truth.check(truth.is_closing, f"{what}, and the hall is open")
        case _:
            is_known = life.gathering in truth.may_crash
            truth.check(is_known, f"{what}, for no reason that is known")


def _check_rule(truth: "Truth", life: Life, reason: str, what: str) -> None:
    now, ahead = truth.now(), truth.ahead()
    earliest, latest = life.earliest(ahead), life.latest(ahead)
    if reason not in earliest:
        truth.fault(f"{what}: it has no such rule: {life}")
        return
    due = earliest[reason]
    truth.check(now >= due - WALL_EPSILON, f"{what}: early, due {due:.3f}: {life}")
    if truth.jumped_at == now and any(one.link.is_relayed for one in life.clients):
        # That a client is gone may have been on its way when the machine fell asleep.
        latest = {rule: end for rule, end in latest.items() if rule not in ("empty", "alone")}
    for rule, end in latest.items():
        truth.check(due <= end + WALL_EPSILON, f"{what}: {rule} came first, at {end:.3f}: {life}")
        _check_not_late(truth, life, end, f"{what}: late for {rule}")
    # Where a task relays what the server says, a close frame is on its way for a moment.
    is_hidden = truth.put_out_at == now
    there = [
        one
        for one in life.clients
        if one.is_in and not (one.is_doubtful or (is_hidden and one.link.is_relayed))
    ]
    if truth.jumped_at == now:
        # What the server closed as the machine fell asleep isn't seen yet.
        there = []
    if reason == "empty":
        truth.check(not there, f"{what}, and {[*map(str, there)]} are there")
    elif reason == "alone":
        names = {one.name for one in there}
        is_few = len(names) <= life.rules.alone_clients
        truth.check(is_few, f"{what}, and {names} are there: {life}")
    elif reason == "unjoined":
        let_in = [str(one) for one in life.clients if one.joined is not None]
        truth.check(not let_in, f"{what}, and {let_in} were let in")


def _check_not_late(truth: "Truth", life: Life, due: float, what: str) -> None:
    now, ahead = truth.now(), truth.ahead()
    due = max(due, life.held_to(ahead), life.changed_at)
    latest = max(due, life.store_ended_at)
    if life.is_by_wall and life.stepped_at > -math.inf:
        latest = max(latest, life.stepped_at + LOOKS_AGAIN)
    if life.reading:
        # The hall waits for an answer that is being read.
        latest = max(latest, due + 1.1)
    if truth.jumped_at >= latest:
        # The hall waits for what had begun to arrive.
        latest = truth.jumped_at + 1.1
    if any(one.is_stuck for one in life.clients):
        # The hall waits for clients that don't read.
        latest += truth.close_grace
    truth.check(now <= latest + WALL_EPSILON, f"{what}, due {due:.3f}: {life}")
