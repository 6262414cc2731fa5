"""Retries: send again what isn't acknowledged, and give up clients that never acknowledge it.

One task looks at all clients whenever something is due, in portions. A client isn't judged for
time in which the server didn't listen, nor before everything it has said is known, nor while its
bytes move.
"""

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.archive import read_shown
from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.forwards import forward_of
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.delivery_window import DeliveryWindow, Verdict
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.extras import Extras
from squire_gatherings._values.log import LoggedOp, syncs_between
from squire_gatherings._values.messages import SyncRun
from squire_gatherings._values.outgoing import Outgoing

RETRY_BYTES = 64 * 1024
RETRY_OPS = 4096
"""How much one retry sends at most: the first ops that are missing, and at least one."""

FEW_OPS = 16
FEW_BYTES = 16 * 1024
"""The same for a client that never acknowledged anything. It is sent a larger op again once."""

KEPT_BYTES = 1024 * 1024
"""About how many bytes of ops are kept encoded, for clients that lack the same."""

LATE = 0.05
"""If the task wakes so many seconds late, that time counts against nobody."""

LOOK_AGAIN = 0.05
"""How many seconds later the task looks again at a client with unprocessed messages."""

LOOKS = 20
"""How often it does that at most, while the client keeps sending other things."""

SLOWEST = 100
"""How many bytes a second of a message must come for it to excuse that nothing is acknowledged."""

TURN = 1024
"""How much work is done before others get a turn: 1 for a client, more for what it is sent."""

LARGE = 128
SPACING = 10e-6
"""Between two rounds over more than `LARGE` clients, so many seconds pass for each client."""


@frozen
class _Portion:
    """How much a retry may send."""

    max_ops: int
    max_bytes: int
    any_op: bool
    """Whether the first op is sent even if it has more than `max_bytes`."""

    def of(self, entries: Sequence[LoggedOp]) -> Sequence[LoggedOp]:
        """Return which of these ops may be sent; they have at most `max_bytes`, or are one."""
        if entries and not self.any_op and len(entries[0].json) > self.max_bytes:
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

    room: Room
    syncs: tuple[SyncRun, ...] | None = None
    """Those that its ops came from; None where the ops are in memory."""
    _forwards: dict[tuple[int, int, Extras], tuple[Outgoing, int]] = field(factory=dict)
    """By first and last seq, and what else it has: the message, and how many bytes of ops."""

    _size: int = 0

    def send(self, client: Client, after: int, entries: Sequence[LoggedOp]) -> int:
        """Send a client what others did among the ops after `after`; return the bytes."""
        sent = 0
        for first, last in client.window.runs(after, after + len(entries)):
            key = (first, last, client.extras)
            found = self._forwards.get(key)
            if found is None:
                run = entries[first - 1 - after : last - after]
                found = self._forwards[key] = self._encode(first, run, client.extras)
            outgoing, size = found
            client.send(outgoing)
            self.room.quotas.tally.retries += 1
            sent += size
        return sent

    def _encode(self, first: int, run: Sequence[LoggedOp], extras: Extras) -> tuple[Outgoing, int]:
        size = sum(len(logged.json) for logged in run)
        self._size += size
        if self._size > KEPT_BYTES:
            self._size = size
            self._forwards.clear()
        syncs: tuple[SyncRun, ...] = ()
        if extras.syncs:
            syncs = self._syncs_of(first - 1, first + len(run) - 1)
        return forward_of(self.room.incarnation, first, run, extras, syncs), size

    def _syncs_of(self, after: int, up_to: int) -> tuple[SyncRun, ...]:
        if self.syncs is None:
            return self.room.log.syncs_of(after, up_to)
        return syncs_between(self.syncs, after, up_to)


@define(eq=False)
class Retries:
    """The retries of one gathering, while anything is unacknowledged."""

    room: Room
    due: float
    _scope: trio.CancelScope | None = None
    _suspects: dict[Client, tuple[int, int]] = field(factory=dict)
    """Clients that would be given up if nothing of theirs might lie in the inbox: up to
    where it may, and how often that was seen."""

    _sending: dict[Client, tuple[int, float]] = field(factory=dict)
    """Clients that would be given up if no message of theirs were coming: how many bytes of it had
    come, and when."""

    _slices: dict[tuple[int, int, int], Sequence[LoggedOp]] = field(factory=dict)
    _from_store: dict[tuple[int, _Portion], list[Client]] = field(factory=dict)

    def arm(self, due: float) -> None:
        """Have the task look at the time `due`, instead of later."""
        self.due = due
        if self._scope is not None:
            self._scope.deadline = due

    async def run(self, on_end: Callable[[], None]) -> None:
        """Sleep until something is due; return when nothing is outstanding any more."""
        try:
            while self.due != math.inf:
                with trio.CancelScope(deadline=self.due) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                await self._round()
        finally:
            on_end()

    async def _round(self) -> None:
        """Look at all clients. A clock that begins to run meanwhile arms the task again."""
        if self.room.quotas.is_leaving or not self.room.may_show:
            # To read what they have said would never come to an end, and nobody is judged unheard;
            # nor is anybody shown what may be another node's.
            self.due = trio.current_time() + LOOK_AGAIN
            return
        since, self.due = self.due, math.inf
        until = now = trio.current_time()
        is_late = until - since > LATE
        encoded = _Encoded(self.room)
        soonest = math.inf
        work = 0
        if self.room.terms.due < math.inf:
            # Nobody is sent again what it may not read any more.
            self.room.terms.look()
        clients = tuple(self.room.clients.values())
        for client in clients:
            window = client.window
            if is_late:
                window.excuse(since, until)
            if window.due_at <= now and client.attached:
                work += self._look_at(client, now, encoded, is_late=is_late)
            if window.due_at < soonest and client.attached:
                soonest = window.due_at
            work += 1
            if work >= TURN:
                work = 0
                before = now
                await trio.lowlevel.checkpoint()
                now = trio.current_time()
                if not self.room.may_show:
                    self.due = now + LOOK_AGAIN
                    return
                if now - before > LATE:
                    since, until = (since if is_late else before), now
                    is_late = True
        if len(clients) > LARGE:
            soonest = max(soonest, now + len(clients) * SPACING)
        self._slices.clear()
        self._ask_the_store()
        self._suspects = {one: seen for one, seen in self._suspects.items() if one.attached}
        self._sending = {one: seen for one, seen in self._sending.items() if one.attached}
        self.due = min(self.due, soonest)

    def _look_at(self, client: Client, now: float, encoded: _Encoded, *, is_late: bool) -> int:
        """Send a client ops again, give it up, or neither; return how much work that was."""
        window, inbox = client.window, self.room.inbox
        work = 8
        if is_late or window.verdict(now) is Verdict.GIVE_UP:
            put_in = inbox.put_in
            has_more = client.read_arrived()
            # What was read may have been much work.
            work = TURN if has_more or inbox.put_in != put_in else TURN // 4
            if self._is_unheard(client, has_more=has_more):
                window.put_off(now + LOOK_AGAIN)
                return work
        if window.verdict(now) is Verdict.GIVE_UP and self._still_sends(client, now):
            window.put_off(now + self.room.settings.retry_limit)
            return work
        in_transit = client.in_transit
        window.looked(client.progress, in_transit, now)
        if not client.attached:
            return work
        match window.verdict(now):
            case Verdict.GIVE_UP:
                client.close(CloseCode.UNRESPONSIVE, "forwards were not acknowledged")
                self.room.gone(client)
            case Verdict.RESEND:
                if in_transit <= 0 and not client.paging:
                    work += self._resend(client, encoded) // 64
                window.rescheduled(now)
            case Verdict.NOTHING:
                pass
        return work

    def _is_unheard(self, client: Client, *, has_more: bool) -> bool:
        """Return whether a client may have said something that isn't processed yet.

        With `has_more` some of it wasn't even read.
        """
        if client.paging is Paging.READING:
            # What it said may wait behind what waits for the store.
            return True
        if not client.waiting and not has_more:
            return False
        inbox = self.room.inbox
        if not inbox.waiting and not has_more:
            # All that came is processed. It can't say more while too much of it is under way.
            return client.waiting >= self.room.settings.inbox_limit
        up_to, looks = self._suspects.get(client, (0, 0))
        if inbox.taken >= up_to:
            if looks >= LOOKS:
                return False
            # More has come since, as when its reader had to wait.
            self._suspects[client] = (inbox.put_in, looks + 1)
        return True

    def _still_sends(self, client: Client, now: float) -> bool:
        """Return whether the client's next message, which comes slowly, excuses that it is silent.

        Its acknowledgement may lie behind that message.
        """
        size = client.receiving
        if not size:
            self._sending.pop(client, None)
            return False
        seen, at = self._sending.get(client, (0, now))
        if now - at > 2 * self.room.settings.retry_limit:
            # That was another message, long ago.
            seen, at = 0, now
        if size < seen + SLOWEST * (now - at):
            return False
        self._sending[client] = (size, now)
        return True

    def _resend(self, client: Client, encoded: _Encoded) -> int:
        """Send again the first ops that a client lacks; return how many bytes they have."""
        window, log = client.window, self.room.log
        portion = _portion(window)
        after = window.acked
        if after + 1 < log.tail_start:
            self._from_store.setdefault((after, portion), []).append(client)
            return 0
        up_to = min(window.resend_to, after + portion.max_ops)
        key = (after, up_to, portion.max_bytes)
        entries = self._slices.get(key)
        if entries is None:
            if len(self._slices) >= LARGE:
                self._slices.clear()
            entries = self._slices[key] = log.slice(after, up_to, self._max_bytes(portion))
        return encoded.send(client, after, portion.of(entries))

    def _max_bytes(self, portion: _Portion) -> int:
        return min(portion.max_bytes, self.room.settings.batch_bytes)

    # Ops that only the store has.

    def _ask_the_store(self) -> None:
        wanted, self._from_store = self._from_store, {}
        for (after, portion), clients in wanted.items():
            self.room.nursery.start_soon(self._resend_from_store, after, portion, clients)

    async def _resend_from_store(
        self, after: int, portion: _Portion, clients: list[Client]
    ) -> None:
        """Send again what follows `after` to those of these clients that still lack it."""
        up_to = min(max(client.window.resend_to for client in clients), after + portion.max_ops)
        room = self.room
        try:
            shown = await read_shown(
                room.store,
                room.id,
                after=after,
                up_to=up_to,
                max_bytes=self._max_bytes(portion),
                syncs=any(client.extras.syncs for client in clients),
            )
        except StoreUnavailable:
            # The next retry asks again.
            return
        if not room.may_show:
            return
        page = tuple(portion.of(shown.ops))
        encoded = _Encoded(room, shown.syncs)
        work = 0
        for client in clients:
            window = client.window
            if client.attached and window.acked == after and not client.paging:
                entries = page[: max(0, window.resend_to - after)]
                work += 8 + encoded.send(client, after, entries) // 64
            if work >= TURN:
                work = 0
                await trio.lowlevel.checkpoint()
                if not room.may_show:
                    return
