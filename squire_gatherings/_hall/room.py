"""The room: the state of one incarnation, shared by everything that works for it."""

import math
from typing import Any

import attrs
import trio
from attrs import define, field, frozen

from squire_gatherings._hall.clients import Caller, Client
from squire_gatherings._hall.inbox import Inbox, Request
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.terms import Terms
from squire_gatherings._rules.behaviour import Behaviour
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._rules.places import is_full
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._rules.sync_ids import SyncKey
from squire_gatherings._values.end_rules import EndRules, Explanation, Moved, rules_of
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import Full, GatheringDispersed, StoreUnavailable
from squire_gatherings._values.ids import new_incarnation_id
from squire_gatherings._values.messages import Dispersed, Ending, ServerMessage
from squire_gatherings._values.numbers import GatheringNumbers, Stage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings


@frozen
class GivenRules:
    """Whence a gathering has its rules. Most gatherings of a hall share one of these."""

    base: EndRules
    """Those of the hall, or those that it was opened with."""
    said: EndRules | None = None
    """What its behaviour made of them."""
    changes: dict[str, Any] = field(factory=dict)
    """What the program has changed since. It comes before the behaviour's."""

    @property
    def rules(self) -> EndRules:
        """The rules that hold."""
        rules = self.said or self.base
        return attrs.evolve(rules, **self.changes) if self.changes else rules


@define(eq=False, weakref_slot=True, repr=False)
class Room:
    """What one incarnation has, who is in it, and the ways in.

    An incarnation may end at any time. Once `accepting` is False (the point of no return), nothing
    that is put in is processed. Nothing here waits but `ask`.
    """

    id: str
    """The gathering's id."""
    settings: HallSettings
    store: Store
    terms: Terms
    """The rights that end. It has the hall's wall clock."""
    incarnation: str = field(factory=new_incarnation_id)
    refused: frozenset[SyncKey] = frozenset()
    """Syncs that crashed an earlier incarnation."""
    quotas: Quotas = field(factory=Quotas)
    """What all gatherings of the hall share."""
    given: GivenRules = field()
    """The rules by which it ends."""

    # Set when it is restored.
    behaviour: Behaviour = field(init=False)
    serves_snapshots: bool = field(init=False)
    log: OpLog = field(init=False)
    heads: dict[int, bytes | None] = field(factory=dict)
    """Heads of the chain that the store was asked for, by seq; None where it can't have one."""
    deadline: Deadline = field(init=False)
    nursery: trio.Nursery = field(init=False)
    """Has the tasks that work for this incarnation; they end with it."""

    # How far its life is.
    stage: Stage | None = None
    """None before it is opened, and when it's gone."""
    accepting: bool = False
    reason: DispersalReason | None = None
    """Why it is to end, or ended."""
    notice_by: float = math.inf
    """When the final notice must be over."""
    notice: Dispersed | None = None
    """What its clients were told last."""
    trouble: StoreUnavailable | None = None
    """Why the last commit failed; while set, only what is durable is shown."""
    suspects: tuple[SyncKey, ...] = ()
    """Syncs that crashed this incarnation."""
    processed: int = 0
    """How many messages that count as activity were processed."""
    is_moved: bool = False
    """Whether it goes on in another process: here it ends without a trace."""
    is_wanted: bool = False
    """Whether somebody opened it on purpose: it stays, though nobody has used it yet."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Around the wait for messages, which it ends at the deadline."""

    # Who is there.
    inbox: Inbox = field(init=False)
    clients: dict[str, Client] = field(factory=dict)
    """All who are connected, by scope: each client has only one connection."""
    callers: set[Caller] | None = None
    """All who have asked and aren't answered yet. At the end all of them are. None for nobody."""
    log_bytes: int = 0
    """How many bytes the ops of the log have, where that is limited (`max_log`)."""
    numbered: int = 0
    """The last number that was given to a client."""
    counted_at: int = 0
    """What the log had `added` when the ops in memory were counted last."""
    _tail_size: int = 0
    """What the ops in memory were counted with last."""

    @given.default
    def _rules_of_the_hall(self) -> GivenRules:
        return GivenRules(rules_of(self.settings))

    def __attrs_post_init__(self) -> None:
        self.inbox = Inbox(budget=self.quotas.budget)

    def __repr__(self) -> str:
        # What it has may hold secrets: the ids of its clients.
        return f"Room({self.id!r}, {self.incarnation!r})"

    # Asking.

    async def ask(self, caller: Caller, request: Request) -> ServerMessage:
        """Put a request into the inbox, and wait for its answer, which comes whatever happens.

        Raises:
            GatheringsError: What is wrong with the request.
            GatheringCrashed: It crashed over this request.
            GatheringDispersed: It has ended, with nothing done, or (of a sync) with its outcome
                unknown.

        Cancellation: what the request began is ended.
        """
        if not self.accepting:
            raise GatheringDispersed(f"gathering {self.id} has dispersed")
        self.inbox.put(caller, request)
        callers = self.callers = self.callers or set()
        callers.add(caller)
        try:
            return await caller.wait()
        finally:
            callers.discard(caller)
            if not callers:
                self.callers = None
            caller.gone()

    # Coming and going.

    def next_number(self) -> int:
        """Return a number for a new client, from 1 on."""
        self.numbered += 1
        return self.numbered

    def refusal_of(self, client: Client) -> Full | None:
        """Return why there's no place for a client: the gathering or its user has too many."""
        quotas = self.quotas
        # Not the room's own, which stay as they are.
        settings = quotas.settings
        if client.scope in self.clients:
            # It takes the place of an older connection.
            return None
        names = {"gathering": self.id}
        if is_full(len(self.clients), settings.max_connections_per_gathering):
            most = settings.max_connections_per_gathering
            why = f"the gathering has all the clients that it takes: {most}"
            return quotas.refuse(Limit.CONNECTIONS_PER_GATHERING, why, **names)
        user = client.identity.user
        if user is not None and is_full(quotas.users.of(user), settings.max_connections_per_user):
            why = f"a user has at most {settings.max_connections_per_user} connections"
            return quotas.refuse(Limit.CONNECTIONS_PER_USER, why, **names)
        return None

    def attach(self, client: Client) -> bool:
        """Take a client in. Of two connections of the same client, the one that asked later stays.

        Returns:
            Whether it was taken in. If not, a connection that asked later is there.
        """
        other = self.clients.get(client.scope)
        if other is not None:
            if 0 < client.asked < other.asked:
                return False
            self.detach(other)
            other.close(CloseCode.REPLACED, "replaced by a newer connection")
        client.attached = True
        client.room = self
        self.clients[client.scope] = client
        self.quotas.users.take(client.identity.user)
        self.quotas.attended(self.id)
        self.terms.add(self, client)
        return True

    def detach(self, client: Client) -> bool:
        """Forget a client, and end what goes on for it; False if it was forgotten before."""
        if self.clients.get(client.scope) is not client:
            return False
        del self.clients[client.scope]
        self.quotas.users.leave(client.identity.user)
        if client.identity.expires_at is not None:
            self.terms.drop(client)
        client.left()
        return True

    def gone(self, client: Client) -> None:
        """Note that a client is gone: it left, was given up, or its connection has closed.

        Counts as no activity.
        """
        if not self.detach(client):
            return
        self.counted("left", client)
        if not self.clients:
            self._unattended()

    def let_go(self, client: Client) -> None:
        """Close the connection of a client that leaves, unless an answer is still owed to it."""
        if client.leaving and client.attached and not (client.reads or client.held):
            self.gone(client)
            client.close(CloseCode.LEFT, "left")

    def visited(self, *, counted: bool) -> None:
        """Note that somebody who asked for something, or wanted to join, is done.

        If nobody is here, the room is empty now. If nothing has ever counted as activity, it ends
        at once, unless it is wanted.
        """
        if not self.accepting or self.clients:
            return
        if not (self.processed or self.is_wanted or self.inbox.waiting):
            self.end(DispersalReason.EMPTY)
        elif counted or self.deadline.emptied_at is None:
            now = trio.current_time()
            self.deadline.attended(0, now)
            self.deadline.visited(now)
            self._unattended()
            self.look_at_warning(now)
            self.rearm()

    def left_alone(self, now: float) -> None:
        """Note that nobody is here, since when its deadline says, or since `now`."""
        self.deadline.attended(0, now)
        self._unattended()
        self.rearm()

    def evict(self) -> None:
        """Have it disperse for another one's sake."""
        self.end(DispersalReason.EVICTED)

    def _unattended(self) -> None:
        if self.accepting:
            self.quotas.unattended(self.id, self.evict)

    def counted(self, what: str, client: Client) -> None:
        """Note how many clients there are, after `client` has come or gone."""
        deadline, now = self.deadline, trio.current_time()
        before = deadline.at
        deadline.attended(len(self.clients), now)
        if deadline.at != before:
            deadline.moved = Moved(what, client.identity.user, now)
        # It may have come nearer.
        self.rearm()

    # When it ends.

    def look(self) -> None:
        """Look at the wall clock, if that decides on anything."""
        deadline = self.deadline
        if deadline.rules.is_by_wall:
            deadline.look(trio.current_time(), self.terms.wall())

    def look_again(self) -> None:
        """Look at the wall clock, which may have been set, and set the timer accordingly."""
        self.look()
        self.look_at_warning(trio.current_time())
        self.rearm()

    def is_due(self) -> bool:
        """Whether it is to end now, if nothing else has arrived."""
        self.look()
        return trio.current_time() >= self.deadline.at

    def rearm(self) -> None:
        """Set the timer, if something is due sooner than it was.

        One that fires too early is set anew then, so it need not be moved when its time moves away.
        """
        next_at = self.deadline.next_at
        if next_at < self.scope.deadline:
            self.scope.deadline = next_at

    def used(self, now: float, moved: object = None, mover: str | None = None) -> None:
        """Note that a message that counts as activity was processed, and what it was."""
        deadline = self.deadline
        deadline.last_processed_at = now
        if moved is not None:
            deadline.moved, deadline.mover = moved, mover
        if deadline.told is not None:
            self.look_at_warning(now)

    def apply_rules(self, what: str, by: str | None) -> None:
        """Live by the rules that are given now; they were changed by `what`."""
        rules, deadline = self.given.rules, self.deadline
        if rules == deadline.rules:
            return
        self.look()
        before, now = deadline.at, trio.current_time()
        deadline.change(rules, len(self.clients), now, self.terms.wall())
        if rules.is_by_wall:
            self.terms.instants.add(self)
        if deadline.at != before:
            deadline.moved = Moved(what, by, now)
        self.look_at_warning(now)
        self.rearm()

    def extend(self, seconds: float, by: str | None) -> None:
        """Put the end off by so many seconds."""
        self.look()
        deadline, now = self.deadline, trio.current_time()
        before = deadline.at
        deadline.extend(seconds)
        if deadline.at != before:
            deadline.moved = Moved("extend", by, now)
        self.look_at_warning(now)
        self.rearm()

    def warn_if_due(self) -> None:
        """Tell the clients of the end, if it is time."""
        now = trio.current_time()
        told = self.deadline.warn(now)
        if told is not None:
            self.tell_ending(told.rule, told.at)

    def look_at_warning(self, now: float, joining: Client | None = None) -> None:
        """Tell the clients, where what they were told of the end isn't so any more.

        One that is joining is told later, after `joined`.
        """
        deadline = self.deadline
        told = deadline.told
        if told is None or deadline.stands:
            return
        deadline.told = None
        other = deadline.warn(now)
        if other is None:
            self.tell_ending(told.rule, math.inf, joining)
        else:
            self.tell_ending(other.rule, other.at, joining)
        self.rearm()

    def tell_ending(self, rule: DispersalReason, at: float, joining: Client | None = None) -> None:
        """Tell the clients that it ends then by this rule; infinity: that this is off."""
        outgoing = Outgoing(self.ending(rule, at))
        for client in tuple(self.clients.values()):
            if client is not joining and not client.is_mute:
                client.send(outgoing)

    def ending(self, rule: DispersalReason, at: float) -> Ending:
        """Return what the clients are told of an end at that time."""
        left = at - trio.current_time()
        if math.isinf(left):
            return Ending(self.id, self.incarnation, rule, None, None)
        left = max(0.0, left)
        at_time = round((self.terms.wall() + left) * 1000)
        return Ending(self.id, self.incarnation, rule, left, at_time)

    # Ending.

    def end(self, reason: DispersalReason, *, by: float = math.inf) -> None:
        """Have it disperse. What is in the inbox is still processed; nothing more comes in.

        The notice may take `close_grace`, but must be over at the time `by`.
        """
        self.notice_by = min(self.notice_by, by)
        if self.accepting:
            self.quotas.attended(self.id)
            self.accepting = False
            self.reason = reason
            self.inbox.wake()

    # Counting.

    def enter(self, stage: Stage | None) -> None:
        """Count how far its life is."""
        stages = self.quotas.tally.stages
        if self.stage is not None:
            stages[self.stage] -= 1
        if stage is not None:
            stages[stage] += 1
        self.stage = stage

    def count_tail(self) -> None:
        """Count the ops in memory, as many as there are now."""
        self.counted_at = self.log.added
        size = self.log.tail_size
        self.quotas.budget.tails += size - self._tail_size
        self._tail_size = size

    def uncount(self) -> None:
        """Nothing is in memory any more."""
        self.quotas.budget.tails -= self._tail_size
        self._tail_size = 0
        self.inbox.clear()

    # For operators.

    def numbers(self) -> GatheringNumbers:
        """Return the operator's numbers."""
        return GatheringNumbers(
            gathering=self.id,
            incarnation=self.incarnation,
            opened_at=self.deadline.opened_at,
            processed=self.processed,
            last_processed_at=self.deadline.last_processed_at,
            deadline=self.deadline.at,
            clients=len(self.clients),
            seq=self.log.committed,
            unacked=sum(client.window.unacked for client in self.clients.values()),
        )

    def explain(self) -> Explanation:
        """Return why it is alive, and when it ends."""
        self.look()
        deadline = self.deadline
        at, warn_at, ends = deadline.at, deadline.warn_at, dict(deadline.ends())
        return Explanation(
            gathering=self.id,
            incarnation=self.incarnation,
            now=trio.current_time(),
            wall_now=self.terms.wall(),
            opened_at=deadline.opened_at,
            last_processed_at=deadline.last_processed_at,
            clients=len(self.clients),
            deadline=at,
            rule=deadline.which,
            ends=ends,
            held_until=at if at > min(ends.values()) else None,
            warns_at=None if math.isinf(warn_at) else warn_at,
            warned=deadline.told is not None,
            rules=deadline.rules,
            moved=self.moved(),
        )

    def moved(self) -> Moved:
        """Return what moved its deadline last."""
        deadline, moved = self.deadline, self.deadline.moved
        if isinstance(moved, Moved):
            return moved
        what = "join" if moved is None else getattr(moved, "__name__", "").lower()
        return Moved(what.removesuffix("request"), deadline.mover, deadline.last_processed_at)

    def names(self) -> dict[str, object]:
        """Return what log records say about it."""
        return {"gathering": self.id, "incarnation": self.incarnation}
