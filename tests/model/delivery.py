"""Delivery: what one client is forwarded, acknowledges, loses, and is sent again.

The second model. All that the server decides, a `DeliveryWindow` decides, which is made anew of
each state; times are relative to now, in ticks. The client may lose any message that it was
brought, as one does that crashes after it took it in.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from attrs import frozen

from squire_gatherings._rules.delivery_window import DeliveryWindow, Verdict
from squire_gatherings._values.handover import WindowState
from tests.model.truths import must

INTERVAL, LIMIT = 1.0, 4.0

Fields = tuple[object, ...]


class Sent(NamedTuple):
    """One state."""

    window: Fields
    log: str = ""
    """For each op who made it: "o" for others, "m" for the client itself."""
    has: int = 0
    """The client has all ops up to this one."""
    silent: int = 0
    """For how many ticks something is owed, and nothing new was acknowledged."""
    is_given_up: bool = False


@frozen
class Delivery:
    """The model: so many ops."""

    ops: int = 3

    def first(self) -> Sent:
        """Return the first state: the client has joined an empty log."""
        return Sent(_frozen(DeliveryWindow(INTERVAL, LIMIT, 0), 0.0))

    def is_done(self, state: Sent) -> bool:
        """Whether all was acknowledged, or the client was given up."""
        return state.is_given_up or (len(state.log) == self.ops and not _owes(state))

    def check(self, state: Sent) -> None:
        """Check a state."""
        if state.is_given_up:
            return
        window = _thawed(state.window)
        must((window.due_at < float("inf")) == (window.owed > window.acked), "the clock is wrong")
        must(window.acked <= max(state.has, window.reached), "acknowledged, and never said")
        lacks = {seq for seq, who in enumerate(state.log, start=1) if who == "o"}
        lacks = {seq for seq in lacks if seq > max(state.has, window.acked)}
        must(not lacks or window.owed >= max(lacks), "it lacks an op, and nothing is owed to it")

    def steps(self, state: Sent) -> Iterator[tuple[str, Sent]]:
        """Yield what may happen."""
        if state.is_given_up:
            return
        seq = len(state.log) + 1
        if seq <= self.ops:
            window = _thawed(state.window)
            began = window.owed <= window.acked
            window.forwarded(seq, 0.0)
            after = state._replace(window=_frozen(window, 0.0), log=state.log + "o")
            if began:
                after = after._replace(silent=0)
            yield f"{seq} is forwarded, and lost", after
            yield f"{seq} is forwarded", after._replace(has=_next(state.has, seq, seq))
            window = _thawed(state.window)
            window.passed(seq)
            after = state._replace(window=_frozen(window, 0.0), log=state.log + "m")
            yield f"{seq} is its own", after._replace(has=_next(state.has, seq, seq))
        window = _thawed(state.window)
        if state.has > window.acked:
            window.acknowledged(state.has, 0.0)
            yield (
                f"it acknowledges {state.has}",
                state._replace(window=_frozen(window, 0.0), silent=0),
            )
        if _owes(state):
            yield from self._tick(state)

    def _tick(self, state: Sent) -> Iterator[tuple[str, Sent]]:
        window = _thawed(_frozen(_thawed(state.window), -1.0))
        silent = state.silent + 1
        verdict = window.verdict(0.0)
        if verdict is Verdict.GIVE_UP:
            must(silent >= LIMIT, "given up too early")
            yield "it is given up", state._replace(is_given_up=True, silent=0)
            return
        must(silent < LIMIT, "it isn't given up")
        runs = list(window.runs(window.acked, window.resend_to))
        sent = {seq for first, last in runs for seq in range(first, last + 1)}
        if verdict is Verdict.RESEND:
            window.rescheduled(0.0)
        after = state._replace(window=_frozen(window, 0.0), silent=silent)
        if verdict is not Verdict.RESEND:
            yield "tick", after
            return
        first, last = int(state.window[0]) + 1, max(sent)  # type: ignore[call-overload]
        others = {seq for seq in range(first, last + 1) if state.log[seq - 1] == "o"}
        must(sent == others, f"{sorted(sent)} are sent again, and not {sorted(others)}")
        yield "a retry is lost", after
        has = state.has
        for seq in sorted(sent):
            has = _next(has, seq, seq)
        yield "a retry arrives", after._replace(has=has)


def _owes(state: Sent) -> bool:
    window = _thawed(state.window)
    return window.owed > window.acked


def _next(has: int, first: int, last: int) -> int:
    """Return what a client has that had `has`, and is brought these."""
    return last if first <= has + 1 <= last else has


def _frozen(window: DeliveryWindow, ahead: float) -> Fields:
    fields = msgspec.structs.astuple(window.state(ahead))
    return tuple(tuple(map(tuple, one)) if isinstance(one, list) else one for one in fields)


def _thawed(fields: Fields) -> DeliveryWindow:
    window = DeliveryWindow(INTERVAL, LIMIT, 0)
    values = [list(one) if isinstance(one, tuple) else one for one in fields]
    window.resume(WindowState(*values), 0.0)  # type: ignore[arg-type]
    return window
