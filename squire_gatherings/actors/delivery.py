"""Delivery: brings every onlooker the committed ops, again until acknowledged."""

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from squire_gatherings.actors.senders import Onlooker
from squire_gatherings.actors.store import Store
from squire_gatherings.rules.delivery_window import Verdict
from squire_gatherings.rules.op_log import OpLog
from squire_gatherings.values.endings import CloseCode
from squire_gatherings.values.errors import StoreConflict, StoreUnavailable
from squire_gatherings.values.log import LoggedOp
from squire_gatherings.values.messages import Forward, ForwardBatch, ServerMessage
from squire_gatherings.values.outgoing import Outgoing
from squire_gatherings.values.settings import HallSettings

CROWD = 128
"""How many onlookers are brought a batch before other gatherings get their turn."""


def _forward(first: int, entries: Sequence[LoggedOp]) -> ServerMessage:
    if len(entries) == 1:
        return Forward(first, entries[0].by, entries[0].op)
    return ForwardBatch(first, tuple(e.by for e in entries), tuple(e.op for e in entries))


@define(eq=False)
class Delivery:
    """The onlookers of one incarnation, and how far each of them is.

    Its tasks (one retry timer while anything is unacknowledged, one pager for each
    onlooker that lacks ops which only the store has) run in the gathering's nursery.
    """

    gathering: str
    settings: HallSettings
    store: Store
    log: OpLog
    nursery: trio.Nursery
    on_gone: Callable[[Onlooker], None]
    """Called with an onlooker that was given up."""
    incarnation: str = ""
    onlookers: dict[int, Onlooker] = field(factory=dict)
    _by_client: dict[str, Onlooker] = field(factory=dict)
    _timer: trio.CancelScope | None = None
    _batch_after: int = 0
    behind: list[Onlooker] = field(factory=list)
    """Those that the last batch wasn't brought to yet."""
    _shared: dict[tuple[int, int], list[Outgoing]] | None = None
    """While a batch is being delivered: what was encoded for it already."""

    @property
    def unacked(self) -> int:
        """How many forwards wait for an acknowledgement, over all onlookers."""
        return sum(onlooker.window.unacked for onlooker in self.onlookers.values())

    def attach(self, onlooker: Onlooker) -> bool:
        """Take an onlooker in; an older connection of the same client is replaced.

        False, and it isn't taken in, if the one that is there asked later.
        """
        if onlooker.client is not None:
            older = self._by_client.get(onlooker.scope)
            if older is not None:
                if older.asked > onlooker.asked > 0:
                    return False
                self.detach(older)
                older.close(CloseCode.REPLACED, "replaced by a newer connection")
            self._by_client[onlooker.scope] = onlooker
        onlooker.attached = True
        self.onlookers[onlooker.number] = onlooker
        return True

    def detach(self, onlooker: Onlooker) -> bool:
        """Forget an onlooker; False if it was forgotten before."""
        if self.onlookers.pop(onlooker.number, None) is None:
            return False
        if self._by_client.get(onlooker.scope) is onlooker:
            del self._by_client[onlooker.scope]
        onlooker.attached = False
        onlooker.make_room()
        for scope in onlooker.begun or ():
            scope.cancel()
        return True

    def begin_batch(self, after: int) -> None:
        """What follows `after` has just been committed together."""
        self._batch_after = after
        self._shared = {}

    def end_batch(self, now: float) -> None:
        """Bring everybody what was committed, in one encoding for all who lack the same.

        Of a large crowd, only some: others are `behind` then, and `bring_the_rest` must be called.
        """
        self.behind = list(self.onlookers.values())
        self._bring_some(now)

    async def bring_the_rest(self) -> None:
        """Bring the batch to those who lack it, with turns for other gatherings in between.

        No checkpoint if there are none. When cancelled, some have it and some don't.
        """
        while self.behind:
            await trio.lowlevel.checkpoint()
            self._bring_some(trio.current_time())

    def _bring_some(self, now: float) -> None:
        some = self.behind[-CROWD:]
        del self.behind[-CROWD:]
        after, up_to = self._batch_after, self.log.committed
        forwards: list[Outgoing] | None = None
        for onlooker in some:
            window = onlooker.window
            if not onlooker.attached or window.reached >= up_to:
                continue
            if forwards is None and after + 1 >= self.log.tail_start:
                forwards = self._forwards(after, up_to)
            if window.reached != after or onlooker.paging or forwards is None:
                self.bring(onlooker, up_to, now)
                continue
            # Almost everybody: lacks this batch and nothing else.
            for outgoing in forwards:
                onlooker.send(outgoing)
            window.forwarded(up_to, now)
        if forwards is not None:
            self._arm(now + self.settings.retry_interval)
        if not self.behind:
            self._shared = None

    def bring(self, onlooker: Onlooker, up_to: int, now: float) -> None:
        """Forward to an onlooker what it lacks up to `up_to`."""
        window = onlooker.window
        if window.reached >= up_to or onlooker.paging:
            return
        if window.reached + 1 < self.log.tail_start:
            self._start_pager(onlooker)
            return
        for outgoing in self._forwards(window.reached, up_to):
            onlooker.send(outgoing)
        window.forwarded(up_to, now)
        self._arm(now + self.settings.retry_interval)

    def _forwards(self, after: int, up_to: int) -> list[Outgoing]:
        if self._shared is None or after < self._batch_after:
            return self._chunks(after, up_to)
        shared = self._shared.get((after, up_to))
        if shared is not None:
            return shared
        whole = after == self._batch_after and up_to == self.log.committed
        if whole or up_to - after == 1:
            forwards = self._chunks(after, up_to)
        else:
            # An author lacks two parts of a batch, each author other ones: singly encoded
            # ops serve them all, where a message for each part would be quadratic.
            forwards = [one for seq in range(after, up_to) for one in self._forwards(seq, seq + 1)]
        self._shared[after, up_to] = forwards
        return forwards

    def _chunks(self, after: int, up_to: int) -> list[Outgoing]:
        chunks: list[Outgoing] = []
        while after < up_to:
            entries = self.log.slice(after, up_to, self.settings.batch_bytes)
            chunks.append(Outgoing(_forward(after + 1, entries)))
            after += len(entries)
        return chunks

    def _arm(self, due: float) -> None:
        if self._timer is None:
            self._timer = trio.CancelScope(deadline=due)
            self.nursery.start_soon(self._run_timer, name=f"retries of {self.gathering}")
        elif due < self._timer.deadline:
            self._timer.deadline = due

    async def _run_timer(self) -> None:
        """Sleep until a retry is due; return when nothing is outstanding any more."""
        while self._timer is not None:
            with self._timer:
                await trio.sleep_forever()
            due = self._retry(trio.current_time())
            self._timer = None if due == math.inf else trio.CancelScope(deadline=due)

    def _retry(self, now: float) -> float:
        """Resend or give up wherever that is due; return when something is due next."""
        due = math.inf
        for onlooker in tuple(self.onlookers.values()):
            window = onlooker.window
            match window.verdict(now):
                case Verdict.GIVE_UP:
                    onlooker.close(CloseCode.UNRESPONSIVE, "forwards were not acknowledged")
                    self.on_gone(onlooker)
                    continue
                case Verdict.RESEND:
                    if onlooker.connection.backlog == 0 and not onlooker.paging:
                        self._resend(onlooker)
                    window.rescheduled(now)
                case Verdict.NOTHING:
                    pass
            due = min(due, window.due_at)
        return due

    def _resend(self, onlooker: Onlooker) -> None:
        window = onlooker.window
        after, up_to = window.acked, window.resend_to
        if after + 1 < self.log.tail_start:
            window.reached = after
            self._start_pager(onlooker)
            return
        run: list[LoggedOp] = []
        seq = after
        for entry in self.log.slice(after, up_to, self.settings.batch_bytes):
            seq += 1
            if self.log.origin(seq) != onlooker.number:
                run.append(entry)
                continue
            if run:
                onlooker.send(Outgoing(_forward(seq - len(run), run)))
            run = []
        if run:
            onlooker.send(Outgoing(_forward(seq - len(run) + 1, run)))

    def _start_pager(self, onlooker: Onlooker) -> None:
        onlooker.paging = True
        self.nursery.start_soon(self._page, onlooker, name=f"pager of {self.gathering}")

    async def _page(self, onlooker: Onlooker) -> None:
        """Bring an onlooker pages from the store until memory has the rest."""
        window = onlooker.window
        while onlooker.attached and window.reached + 1 < self.log.tail_start:
            try:
                page = await self.store.read(
                    self.gathering,
                    after=window.reached,
                    up_to=self.log.committed,
                    max_bytes=self.settings.batch_bytes,
                )
            except StoreUnavailable:
                await trio.sleep(self.settings.commit_retry_interval)
                continue
            if not page:
                raise StoreConflict(f"the store has no op {window.reached + 1}")
            if onlooker.attached:
                now = trio.current_time()
                onlooker.send(Outgoing(_forward(window.reached + 1, page)))
                window.forwarded(window.reached + len(page), now)
                self._arm(now + self.settings.retry_interval)
                await onlooker.flush()
        onlooker.paging = False
        if onlooker.attached:
            self.bring(onlooker, self.log.committed, trio.current_time())
