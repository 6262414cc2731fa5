"""Retries: what isn't acknowledged is sent again, and who never acknowledges it is given up.

One task looks at all onlookers whenever something is due, in portions. Nobody is judged for time
in which the server didn't listen, before what it said is known, or while its bytes move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.senders import Onlooker, Paging
from squire_gatherings._hall.store import read_page
from squire_gatherings._rules.delivery_window import DeliveryWindow, Verdict
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.outgoing import Outgoing

if TYPE_CHECKING:
    from squire_gatherings._hall.delivery import Delivery

RETRY_BYTES = 64 * 1024
RETRY_OPS = 4096
"""How much one retry sends at most, and at least one op: the first that lack."""

FEW_OPS = 16
FEW_BYTES = 16 * 1024
"""The same for an onlooker that never acknowledged anything. A larger op it is sent again once."""

KEPT_BYTES = 1024 * 1024
"""How many bytes of ops are kept encoded for those who lack the same, about."""

LATE = 0.05
"""By how many seconds the task must wake late for that time not to count."""

LOOK_AGAIN = 0.05
"""After how many seconds an onlooker is looked at again whose messages are unprocessed."""

LOOKS = 20
"""How often at most, while it keeps sending other things."""

SLOWEST = 100
"""How many bytes a second of a message must come for it to excuse that nothing is acknowledged."""

TURN = 1024
"""How much is done before others get their turn: 1 for an onlooker, more for what it is sent."""

LARGE = 128
SPACING = 10e-6
"""So many seconds an onlooker lie between two rounds over more than `LARGE` of them."""


@frozen
class _Portion:
    """How much a retry may send."""

    max_ops: int
    max_bytes: int
    any_op: bool
    """Whether the first op is sent even if it has more than `max_bytes`."""

    def of(self, entries: Sequence[LoggedOp]) -> Sequence[LoggedOp]:
        """Return what may be sent of these ops, which a read cut off at `max_bytes`."""
        if entries and not self.any_op and len(entries[0].op.json) > self.max_bytes:
            return ()
        return entries


_PORTION = _Portion(RETRY_OPS, RETRY_BYTES, any_op=True)
_FIRST = _Portion(FEW_OPS, FEW_BYTES, any_op=True)
_FEW = _Portion(FEW_OPS, FEW_BYTES, any_op=False)


def _portion(window: DeliveryWindow) -> _Portion:
    if window.ever_acked:
        return _PORTION
    return _FIRST if window.is_first_retry else _FEW


@define(eq=False)
class _Encoded:
    """What is sent again in one round, encoded once for all who lack the same."""

    delivery: Delivery
    _forwards: dict[tuple[int, int], tuple[Outgoing, int]] = field(factory=dict)
    """By first and last seq: the message, and how many bytes of ops it has."""

    _size: int = 0

    def send(self, onlooker: Onlooker, after: int, entries: Sequence[LoggedOp]) -> int:
        """Send an onlooker what others did among the ops after `after`; return the bytes."""
        sent = 0
        for first, last in onlooker.window.runs(after, after + len(entries)):
            found = self._forwards.get((first, last))
            if found is None:
                found = self._encode(first, entries[first - 1 - after : last - after])
                self._forwards[first, last] = found
            outgoing, size = found
            onlooker.send(outgoing)
            sent += size
        return sent

    def _encode(self, first: int, run: Sequence[LoggedOp]) -> tuple[Outgoing, int]:
        size = sum(len(logged.op.json) for logged in run)
        self._size += size
        if self._size > KEPT_BYTES:
            self._size = size
            self._forwards.clear()
        return self.delivery.forward(first, run), size


@define(eq=False)
class Retries:
    """The retries of one gathering, while anything is unacknowledged."""

    delivery: Delivery
    due: float
    _scope: trio.CancelScope | None = None
    _suspects: dict[int, tuple[int, int]] = field(factory=dict)
    """By number, who would be given up but for what lies in the inbox: up to where, and how often
    that was seen."""

    _sending: dict[int, tuple[int, float]] = field(factory=dict)
    """By number, who would be given up but for a message that is coming: how many bytes of it had
    come when."""

    _slices: dict[tuple[int, int, int], Sequence[LoggedOp]] = field(factory=dict)
    _from_store: dict[tuple[int, _Portion], list[Onlooker]] = field(factory=dict)

    def arm(self, due: float) -> None:
        """Look at `due`, at the latest."""
        self.due = due
        if self._scope is not None:
            self._scope.deadline = due

    async def run(self) -> None:
        """Sleep until something is due; return when nothing is outstanding any more."""
        try:
            while self.due != math.inf:
                with trio.CancelScope(deadline=self.due) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                await self._round()
        finally:
            self.delivery.retries = None

    async def _round(self) -> None:
        """Look at all onlookers. Whoever's clock begins meanwhile arms us again."""
        since, self.due = self.due, math.inf
        until = now = trio.current_time()
        is_late = until - since > LATE
        encoded = _Encoded(self.delivery)
        soonest = math.inf
        work = 0
        onlookers = tuple(self.delivery.onlookers.values())
        for onlooker in onlookers:
            window = onlooker.window
            if is_late:
                window.excuse(since, until)
            if window.due_at <= now and onlooker.attached:
                work += self._look_at(onlooker, now, encoded, is_late=is_late)
            if window.due_at < soonest and onlooker.attached:
                soonest = window.due_at
            work += 1
            if work >= TURN:
                work = 0
                before = now
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
                if now - before > LATE:
                    since, until = (since if is_late else before), now
                    is_late = True
        if len(onlookers) > LARGE:
            soonest = max(soonest, now + len(onlookers) * SPACING)
        self._slices.clear()
        self._ask_the_store()
        self._suspects = {
            number: seen
            for number, seen in self._suspects.items()
            if number in self.delivery.onlookers
        }
        self._sending = {
            number: seen
            for number, seen in self._sending.items()
            if number in self.delivery.onlookers
        }
        self.due = min(self.due, soonest)

    def _look_at(self, onlooker: Onlooker, now: float, encoded: _Encoded, *, is_late: bool) -> int:
        """Send again, give up, or neither; return how much that was to do."""
        window = onlooker.window
        if is_late or window.verdict(now) is Verdict.GIVE_UP:
            onlooker.read_arrived()
            if self._is_unheard(onlooker):
                window.put_off(now + LOOK_AGAIN)
                return 8
        if window.verdict(now) is Verdict.GIVE_UP and self._still_sends(onlooker, now):
            window.put_off(now + self.delivery.settings.retry_limit)
            return 8
        in_transit = onlooker.in_transit
        window.looked(onlooker.progress, in_transit, now)
        if not onlooker.attached:
            return 8
        work = 8
        match window.verdict(now):
            case Verdict.GIVE_UP:
                onlooker.close(CloseCode.UNRESPONSIVE, "forwards were not acknowledged")
                self.delivery.on_gone(onlooker)
            case Verdict.RESEND:
                if in_transit <= 0 and not onlooker.paging:
                    work += self._resend(onlooker, encoded) // 64
                window.rescheduled(now)
            case Verdict.NOTHING:
                pass
        return work

    def _is_unheard(self, onlooker: Onlooker) -> bool:
        """Whether it may have said something that the gathering hasn't processed."""
        if onlooker.paging is Paging.READING:
            # It may wait behind what waits for the store.
            return True
        if not onlooker.waiting:
            return False
        taken, put = self.delivery.inbox()
        if taken == put:
            # All that came is processed; unless what it began keeps it from saying more.
            return onlooker.waiting >= self.delivery.settings.inbox_limit
        up_to, looks = self._suspects.get(onlooker.number, (0, 0))
        if taken >= up_to:
            if looks >= LOOKS:
                return False
            # More has come since, as it does when its reader had to wait.
            self._suspects[onlooker.number] = (put, looks + 1)
        return True

    def _still_sends(self, onlooker: Onlooker, now: float) -> bool:
        """Whether a message of its comes slowly, behind which its acknowledgement may lie."""
        size = onlooker.receiving
        if not size:
            self._sending.pop(onlooker.number, None)
            return False
        seen, at = self._sending.get(onlooker.number, (0, now))
        if now - at > 2 * self.delivery.settings.retry_limit:
            # That was another message, long ago.
            seen, at = 0, now
        if size < seen + SLOWEST * (now - at):
            return False
        self._sending[onlooker.number] = (size, now)
        return True

    def _resend(self, onlooker: Onlooker, encoded: _Encoded) -> int:
        """Send again the first ops that lack; return how many bytes that were."""
        window, log = onlooker.window, self.delivery.log
        portion = _portion(window)
        after = window.acked
        if after + 1 < log.tail_start:
            self._from_store.setdefault((after, portion), []).append(onlooker)
            return 0
        up_to = min(window.resend_to, after + portion.max_ops)
        key = (after, up_to, portion.max_bytes)
        entries = self._slices.get(key)
        if entries is None:
            if len(self._slices) >= LARGE:
                self._slices.clear()
            entries = self._slices[key] = log.slice(after, up_to, self._max_bytes(portion))
        return encoded.send(onlooker, after, portion.of(entries))

    def _max_bytes(self, portion: _Portion) -> int:
        return min(portion.max_bytes, self.delivery.settings.batch_bytes)

    # What only the store has.

    def _ask_the_store(self) -> None:
        wanted, self._from_store = self._from_store, {}
        for (after, portion), onlookers in wanted.items():
            self.delivery.nursery.start_soon(self._resend_from_store, after, portion, onlookers)

    async def _resend_from_store(
        self, after: int, portion: _Portion, onlookers: list[Onlooker]
    ) -> None:
        """Send again what follows `after`, to all of these who still lack it."""
        up_to = min(
            max(onlooker.window.resend_to for onlooker in onlookers), after + portion.max_ops
        )
        delivery = self.delivery
        try:
            page = await read_page(
                delivery.store,
                delivery.gathering,
                after=after,
                up_to=up_to,
                max_bytes=self._max_bytes(portion),
            )
        except StoreUnavailable:
            # The next retry asks again.
            return
        page = tuple(portion.of(page))
        encoded = _Encoded(delivery)
        work = 0
        for onlooker in onlookers:
            window = onlooker.window
            if onlooker.attached and window.acked == after and not onlooker.paging:
                entries = page[: max(0, window.resend_to - after)]
                work += 8 + encoded.send(onlooker, after, entries) // 64
            if work >= TURN:
                work = 0
                await trio.lowlevel.checkpoint()
