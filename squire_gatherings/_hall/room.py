"""The room: the state of one incarnation, shared by everything that works for it."""

import math

import trio
from attrs import define, evolve, field

from squire_gatherings._hall.clients import Caller, Client
from squire_gatherings._hall.inbox import Inbox, Request
from squire_gatherings._hall.life import Life
from squire_gatherings._hall.lifetime import GivenRules, Lifetime
from squire_gatherings._hall.presence import Presences
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.store import Store
from squire_gatherings._hall.terms import Terms
from squire_gatherings._hall.turnstile import Turnstile
from squire_gatherings._rules.behaviour import Behaviour, rules_from
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._rules.lease import Lease
from squire_gatherings._rules.op_log import OpLog
from squire_gatherings._rules.places import is_full
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._rules.sync_ids import SyncKey
from squire_gatherings._values.end_rules import rules_of
from squire_gatherings._values.endings import CloseCode, DispersalReason
from squire_gatherings._values.errors import Full, GatheringDispersed, StoreUnavailable
from squire_gatherings._values.ids import new_incarnation_id
from squire_gatherings._values.messages import Dispersed, ServerMessage
from squire_gatherings._values.numbers import GatheringNumbers, Stage
from squire_gatherings._values.settings import HallSettings


@define(eq=False, weakref_slot=True, repr=False)
class Room(Lifetime):
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
    life: Life | None = None
    """Where somebody is told what happens to it."""
    presence: Presences | None = None
    """Where clients are told who is here, if they may be."""
    lease: Lease | None = None
    """How long it is certain that no other node has it, where there may be any."""

    # Set when it is restored.
    behaviour: Behaviour = field(init=False)
    serves_snapshots: bool = field(init=False)
    log: OpLog = field(init=False)
    heads: dict[int, bytes | None] | None = None
    """Heads of the chain that the store was asked for, by seq; None where it can't have one. No
    dict before the first is asked for: most gatherings never are."""
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
    """Whether another process has it: here it does nothing, and ends without a trace."""
    is_kept: bool = False
    """Whether the next process goes on with it: its clients are told, and it doesn't end."""
    is_wanted: bool = False
    """Whether somebody opened it on purpose: it stays, though nobody has used it yet."""
    is_resting: bool = False
    """Whether it has slept, and isn't restored yet: its log is empty."""
    is_called: bool = False
    """Whether somebody waits until it is restored."""
    is_asleep: bool = False
    """Whether it goes on as a `Sleeper`: its task ends without a trace."""
    is_awaited: bool = False
    """Whether somebody waits until it is gone."""

    # Its deadline, in turn with the other gatherings'.
    turnstile: Turnstile = field(factory=Turnstile)
    scope: trio.CancelScope | None = None
    """Around the wait for messages, which it ends at the deadline; None outside of it."""
    listed_at: float | None = None

    # Who is there.
    inbox: Inbox = field(init=False)
    clients: dict[str, Client] = field(factory=dict)
    """All who are connected, by scope: each client has only one connection."""
    callers: set[Caller] | None = None
    """All who have asked and aren't answered yet. At the end all of them are. None for nobody."""
    log_is_limited: bool = field(init=False)
    """Whether the log has a largest size, in ops or in bytes."""
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
        self.inbox = Inbox(budget=self.quotas.budget, round=self.quotas.round)
        settings = self.settings
        self.log_is_limited = settings.max_log_ops is not None or settings.max_log is not None

    def __repr__(self) -> str:
        # What it has may hold secrets: the ids of its clients.
        return f"Room({self.id!r}, {self.incarnation!r})"

    @property
    def may_show(self) -> bool:
        """Whether it is certain that no other node has it: then what it knows may be shown."""
        return self.lease is None or self.lease.is_valid(trio.current_time())

    def check_may_show(self) -> None:
        """Raise `StoreUnavailable` while that isn't certain."""
        if not self.may_show:
            raise StoreUnavailable(f"gathering {self.id} may be another node's")

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

    def people(self) -> set[Client]:
        """Return its clients, and those that are gone if a message of theirs still waits."""
        senders = (one for one, _ in self.inbox.waiting if isinstance(one, Client))
        return {*self.clients.values(), *senders}

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
        if not self.is_moved:
            self.terms.add(client)
        return True

    def detach(self, client: Client) -> bool:
        """Forget a client, and end what goes on for it; False if it was forgotten before."""
        if self.clients.get(client.scope) is not client:
            return False
        del self.clients[client.scope]
        self.quotas.users.leave(client.identity.user)
        if client.identity.expires_at is not None:
            self.terms.drop(client)
        if self.presence is not None:
            self.presence.gone(self.id, client)
        client.left()
        return True

    def gone(self, client: Client) -> None:
        """Note that a client is gone: it left, was given up, or its connection has closed.

        Counts as no activity.
        """
        if not self.detach(client):
            return
        self.counted("left", client, trio.current_time())
        if not self.clients:
            if self.life is not None:
                self.life.emptied(self.log.committed)
            self._unattended()

    def rights_changed(self, client: Client) -> None:
        """Note that the rights of a client have ended, or were renewed."""
        if self.presence is not None:
            self.presence.rights_changed(self.id, client)

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
            self._unattended()
            self.visited_when_empty(trio.current_time())

    def left_alone(self, now: float) -> None:
        """Note that nobody is here, since when its deadline says, or since `now`."""
        self.deadline.attended(0, now)
        self._unattended()
        self.rearm()

    def _unattended(self) -> None:
        if self.accepting:
            self.quotas.unattended(self.id)

    # Ending.

    def hurry(self) -> None:
        """Have it reaped before its turn: somebody waits for that."""
        self.is_awaited = True
        self.turnstile.hurry(self)

    def last_words(self, reason: DispersalReason, now: float) -> Dispersed:
        """Return the final notice."""
        # The instants of one that slept through a restart come from the wall clock, which is less
        # exact: they may be some ten millionths of a second in the future.
        idle_for = max(0.0, now - self.deadline.last_processed_at)
        return Dispersed(self.id, self.incarnation, reason, self.log.committed, idle_for)

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

    def ask_for_rules(self) -> None:
        """Ask the behaviour for the rules of the state that it has now. They hold later.

        If it raises, the syncs that led to that state aren't durable, and won't be taken again.
        """
        try:
            said = rules_from(self.behaviour, self.given.base)
        except Exception:
            _, syncs = self.log.uncommitted()
            self.suspects = tuple((one.scope, one.id) for one in syncs)
            raise
        if said != self.given.said:
            self.given = evolve(self.given, said=said)

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

    def names(self) -> dict[str, object]:
        """Return what log records say about it."""
        return {"gathering": self.id, "incarnation": self.incarnation}
