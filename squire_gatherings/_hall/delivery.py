"""Delivery: brings every onlooker the committed ops, each once, and what others did only."""

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field
from msgspec import UNSET

from squire_gatherings._hall.catching_up import catch_up
from squire_gatherings._hall.retries import Retries
from squire_gatherings._hall.senders import Onlooker, Paging
from squire_gatherings._hall.store import Store
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import Forward, ForwardBatch, ServerMessage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings

CROWD = 128
"""How many onlookers are brought a batch before other gatherings get their turn.

Fewer where it is large: each message counts for one, and each `WEIGHT` bytes of ops for one more.
"""

WEIGHT = 8 * 1024
SMALL = 8
"""So few are brought a batch in one turn, whatever it weighs."""

BLOCK = 64
"""How many ops go together where many lack different parts of a batch."""


def nothing_waits() -> tuple[int, int]:
    """What an inbox says that nothing was ever put into."""
    return 0, 0


def nobody_minds(onlooker: Onlooker) -> None:
    """What a dispersed gathering does about an onlooker that goes."""


@define(eq=False)
class Delivery:
    """The onlookers of one incarnation, and how far each of them is.

    Its tasks (one for the retries while anything is unacknowledged, one for each
    onlooker that lacks ops which only the store has) run in the gathering's nursery.
    """

    gathering: str
    settings: HallSettings
    store: Store
    log: OpLog
    nursery: trio.Nursery
    on_gone: Callable[[Onlooker], None]
    """Called with an onlooker that was given up, or whose connection failed."""
    incarnation: str = ""
    """The epoch that goes without saying."""
    inbox: Callable[[], tuple[int, int]] = nothing_waits
    """How many messages were taken out of the gathering's inbox so far, and how many put in."""
    onlookers: dict[int, Onlooker] = field(factory=dict)
    _by_client: dict[str, Onlooker] = field(factory=dict)
    retries: Retries | None = None
    """There while anything is unacknowledged."""
    _batch_after: int = 0
    behind: list[Onlooker] = field(factory=list)
    """Those that the last batch wasn't brought to yet."""
    _shared: dict[tuple[int, int], list[Outgoing]] | None = None
    """While a batch is being delivered: what was encoded for it already."""
    _weight: int = 1
    """For how many onlookers one counts who is brought the whole batch."""

    @property
    def unacked(self) -> int:
        """How many forwards wait for an acknowledgement, over all onlookers."""
        return sum(onlooker.window.unacked for onlooker in self.onlookers.values())

    # Who is there.

    def attach(self, onlooker: Onlooker) -> bool:
        """Take an onlooker in; of two connections of the same client, the later to ask stays.

        An older one is replaced. False, with nothing done, if the one that is there asked later.
        """
        if onlooker.client is not None:
            other = self._by_client.get(onlooker.scope)
            if other is not None:
                if 0 < onlooker.asked < other.asked:
                    return False
                self.detach(other)
                other.close(CloseCode.REPLACED, "replaced by a newer connection")
            self._by_client[onlooker.scope] = onlooker
        onlooker.attached = True
        onlooker.on_lost = self.on_gone
        self.onlookers[onlooker.number] = onlooker
        return True

    def detach(self, onlooker: Onlooker) -> bool:
        """Forget an onlooker, and end what goes on for it; False if it was forgotten before."""
        if self.onlookers.pop(onlooker.number, None) is None:
            return False
        if self._by_client.get(onlooker.scope) is onlooker:
            del self._by_client[onlooker.scope]
        onlooker.left()
        return True

    def let_go(self, onlooker: Onlooker) -> None:
        """Close the connection of one that leaves, unless it is still owed an answer."""
        if onlooker.leaving and onlooker.attached and not (onlooker.reads or onlooker.held):
            self.on_gone(onlooker)
            onlooker.close(CloseCode.LEFT, "left")

    def retire(self) -> None:
        """Forget the gathering, which has ended: a cycle would outlive both."""
        self.on_gone = nobody_minds
        self.inbox = nothing_waits

    # What was committed.

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
        some = iter(self.behind[-CROWD:])
        del self.behind[-CROWD:]
        after, up_to = self._batch_after, self.log.committed
        forwards: list[Outgoing] | None = None
        left, weight = CROWD, 1
        for onlooker in some:
            window = onlooker.window
            if not onlooker.attached or window.reached >= up_to:
                continue
            if forwards is None and after + 1 >= self.log.tail_start:
                forwards = self._forwards(after, up_to)
                weight = self._weight
            if window.reached != after or onlooker.paging or forwards is None:
                left -= self.bring(onlooker, up_to, now)
            else:
                # Almost everybody: lacks this batch and nothing else.
                for outgoing in forwards:
                    onlooker.send(outgoing)
                window.forwarded(up_to, now)
                if weight == 1:
                    continue
                left -= weight
            if left <= 0:
                self.behind.extend(some)
                break
        if forwards is not None:
            self.arm(now + min(self.settings.retry_interval, self.settings.retry_limit))
        if not self.behind:
            self._shared = None

    def bring(self, onlooker: Onlooker, up_to: int, now: float) -> int:
        """Forward to an onlooker what it lacks up to `up_to`; return how many messages that took.

        None, where a task must read it from the store first, or does so already.
        """
        window = onlooker.window
        if window.reached >= up_to or onlooker.paging or not onlooker.attached:
            return 0
        if window.reached + 1 < self.log.tail_start:
            onlooker.paging = Paging.READING
            self.nursery.start_soon(catch_up, self, onlooker, name=f"pager of {self.gathering}")
            return 0
        forwards = self._forwards(window.reached, up_to)
        for outgoing in forwards:
            onlooker.send(outgoing)
        self.sent(onlooker, up_to, now)
        return len(forwards)

    def synced(self, onlooker: Onlooker, seqs: range, answer: ServerMessage, now: float) -> None:
        """Tell an onlooker under which seqs its own ops are, after everything before them.

        While it catches up, the answer waits for its turn; until then it counts as unanswered. One
        who has left is told nothing.
        """
        if not onlooker.attached:
            return
        window = onlooker.window
        before = seqs.start - 1
        if window.reached < before:
            self.bring(onlooker, before, now)
            if window.reached < before:
                self._hold(onlooker, seqs, answer)
                return
        last = seqs.stop - 1
        if window.reached < last:
            window.passed(last)
        onlooker.answer(answer)

    def _hold(self, onlooker: Onlooker, seqs: range, answer: ServerMessage) -> None:
        if onlooker.attached:
            if onlooker.held is None:
                onlooker.held = []
            onlooker.held.append((seqs, answer))
            onlooker.held.sort(key=lambda one: one[0].start)
            onlooker.waiting += 1

    # What came of it.

    def sent(self, onlooker: Onlooker, up_to: int, now: float) -> None:
        """What others did up to `up_to` has been handed to an onlooker's connection."""
        onlooker.window.forwarded(up_to, now)
        self.arm(onlooker.window.due_at)

    def acknowledged(self, onlooker: Onlooker, seq: int, now: float) -> None:
        """An onlooker says that it has everything up to `seq`."""
        window = onlooker.window
        window.acknowledged(seq, now)
        if window.due_at != math.inf:
            # Its limit begins anew, and so do its retries: sooner than what is armed.
            self.arm(window.due_at)

    def arm(self, due: float) -> None:
        """Have the retries looked at when they're due, at the latest."""
        if self.retries is None:
            if due != math.inf:
                self.retries = Retries(self, due)
                self.nursery.start_soon(self.retries.run, name=f"retries of {self.gathering}")
        elif due < self.retries.due:
            self.retries.arm(due)

    # How it is encoded.

    def forward(self, first: int, entries: Sequence[LoggedOp]) -> Outgoing:
        """Return the forward of these ops, of which `first` is the seq of the first."""
        epoch = entries[-1].epoch
        said = UNSET if epoch == self.incarnation else epoch
        message: ServerMessage
        if len(entries) == 1:
            message = Forward(first, entries[0].by, entries[0].op, said)
        else:
            by = tuple(one.by for one in entries)
            message = ForwardBatch(first, by, tuple(one.op for one in entries), said)
        return Outgoing(message)

    def _forwards(self, after: int, up_to: int) -> list[Outgoing]:
        if self._shared is None:
            return self._chunks(after, up_to)
        shared = self._shared.get((after, up_to))
        if shared is not None:
            return shared
        count = up_to - after
        if after == self._batch_after and up_to == self.log.committed:
            forwards = self._chunks(after, up_to)
            self._weight = 1 if len(self.onlookers) <= SMALL else self._weigh(forwards)
        elif count == 1 or (count == BLOCK and after % BLOCK == 0):
            forwards = self._chunks(after, up_to)
        else:
            # An author lacks two parts of a batch, each author other ones: blocks that begin at
            # the same places for all, and single ops at their edges, serve them all, where a
            # message for each part would be quadratic.
            forwards = []
            while after < up_to:
                whole = after % BLOCK == 0 and after + BLOCK <= up_to
                step = BLOCK if whole else 1
                forwards += self._forwards(after, after + step)
                after += step
            after = up_to - count
        self._shared[after, up_to] = forwards
        return forwards

    def _weigh(self, forwards: list[Outgoing]) -> int:
        after, up_to = self._batch_after, self.log.committed
        size = sum(len(one.op.json) for one in self.log.slice(after, up_to, WEIGHT * CROWD))
        return len(forwards) + size // WEIGHT

    def _chunks(self, after: int, up_to: int) -> list[Outgoing]:
        chunks: list[Outgoing] = []
        while after < up_to:
            entries = self.log.slice(after, up_to, self.settings.batch_bytes)
            chunks.append(self.forward(after + 1, entries))
            after += len(entries)
        return chunks
