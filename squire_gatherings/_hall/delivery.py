"""Delivery: brings every client the committed ops, each once, and what others did only."""

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field
from msgspec import UNSET

from squire_gatherings._hall.catching_up import catch_up
from squire_gatherings._hall.clients import Client, Paging
from squire_gatherings._hall.retries import Retries
from squire_gatherings._hall.store import Store
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import Forward, ForwardBatch, ServerMessage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings

CROWD = 128
"""How many clients are brought a batch before other gatherings get their turn.

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


def nobody_minds(client: Client) -> None:
    """What a dispersed gathering does about a client that goes."""


@define(eq=False)
class Delivery:
    """The clients of one incarnation, and how far each of them is.

    Its tasks (one for the retries while anything is unacknowledged, one for each
    client that lacks ops which only the store has) run in the gathering's nursery.
    """

    gathering: str
    settings: HallSettings
    store: Store
    log: OpLog
    nursery: trio.Nursery
    on_gone: Callable[[Client], None]
    """Called with a client that was given up, or whose connection failed."""
    incarnation: str = ""
    """The epoch that goes without saying."""
    inbox: Callable[[], tuple[int, int]] = nothing_waits
    """How many messages were taken out of the gathering's inbox so far, and how many put in."""
    clients: dict[int, Client] = field(factory=dict)
    _by_scope: dict[str, Client] = field(factory=dict)
    retries: Retries | None = None
    """There while anything is unacknowledged."""
    _batch_after: int = 0
    behind: list[Client] = field(factory=list)
    """Those that the last batch wasn't brought to yet."""
    _shared: dict[tuple[int, int], list[Outgoing]] | None = None
    """While a batch is being delivered: what was encoded for it already."""
    _weight: int = 1
    """For how many clients one counts who is brought the whole batch."""

    @property
    def unacked(self) -> int:
        """How many forwards wait for an acknowledgement, over all clients."""
        return sum(client.window.unacked for client in self.clients.values())

    # Who is there.

    def attach(self, client: Client) -> bool:
        """Take a client in; of two connections of the same client, the later to ask stays.

        An older one is replaced. False, with nothing done, if the one that is there asked later.
        """
        if client.client_id is not None:
            other = self._by_scope.get(client.scope)
            if other is not None:
                if 0 < client.asked < other.asked:
                    return False
                self.detach(other)
                other.close(CloseCode.REPLACED, "replaced by a newer connection")
            self._by_scope[client.scope] = client
        client.attached = True
        client.on_lost = self.on_gone
        self.clients[client.number] = client
        return True

    def detach(self, client: Client) -> bool:
        """Forget a client, and end what goes on for it; False if it was forgotten before."""
        if self.clients.pop(client.number, None) is None:
            return False
        if self._by_scope.get(client.scope) is client:
            del self._by_scope[client.scope]
        client.left()
        return True

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
        self.behind = list(self.clients.values())
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
        for client in some:
            window = client.window
            if not client.attached or window.reached >= up_to:
                continue
            if forwards is None and after + 1 >= self.log.tail_start:
                forwards = self._forwards(after, up_to)
                weight = self._weight
            if window.reached != after or client.paging or forwards is None:
                left -= self.bring(client, up_to, now)
            else:
                # Almost everybody: lacks this batch and nothing else.
                for outgoing in forwards:
                    client.send(outgoing)
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

    def bring(self, client: Client, up_to: int, now: float) -> int:
        """Forward to a client what it lacks up to `up_to`; return how many messages that took.

        None, where a task must read it from the store first, or does so already.
        """
        window = client.window
        if window.reached >= up_to or client.paging or not client.attached:
            return 0
        if window.reached + 1 < self.log.tail_start:
            client.paging = Paging.READING
            self.nursery.start_soon(catch_up, self, client, name=f"pager of {self.gathering}")
            return 0
        forwards = self._forwards(window.reached, up_to)
        for outgoing in forwards:
            client.send(outgoing)
        self.sent(client, up_to, now)
        return len(forwards)

    def synced(self, client: Client, seqs: range, answer: ServerMessage, now: float) -> None:
        """Tell a client under which seqs its own ops are, after everything before them.

        While it catches up, the answer waits for its turn; until then it counts as unanswered. One
        who has left is told nothing.
        """
        if not client.attached:
            return
        window = client.window
        before = seqs.start - 1
        if window.reached < before:
            self.bring(client, before, now)
            if window.reached < before:
                self._hold(client, seqs, answer)
                return
        last = seqs.stop - 1
        if window.reached < last:
            window.passed(last)
        client.answer(answer)

    def _hold(self, client: Client, seqs: range, answer: ServerMessage) -> None:
        if client.attached:
            if client.held is None:
                client.held = []
            client.held.append((seqs, answer))
            client.held.sort(key=lambda one: one[0].start)
            client.waiting += 1

    # What came of it.

    def sent(self, client: Client, up_to: int, now: float) -> None:
        """What others did up to `up_to` has been handed to a client's connection."""
        client.window.forwarded(up_to, now)
        self.arm(client.window.due_at)

    def acknowledged(self, client: Client, seq: int, now: float) -> None:
        """A client says that it has everything up to `seq`."""
        window = client.window
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
            self._weight = 1 if len(self.clients) <= SMALL else self._weigh(forwards)
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
