"""The crowd: all the clients of one gathering, which live in one generator process.

Since they live together, every check is local: what each of them gets is compared with one log,
and one clock knows when the last counted message was sent.
"""

from functools import partial
from time import monotonic

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.incarnation import Dispersal, Incarnation
from squire_gatherings._load.checks.log import LogCheck
from squire_gatherings._load.clients.client import AWAY_AT_MOST, Client
from squire_gatherings._load.clients.context import ProcessContext
from squire_gatherings._load.clients.slow_reader import SlowReader
from squire_gatherings._load.op import LoadOp, encode_op


class Crowd:
    """One gathering's clients, its ops' schedule, and its incarnations. Nothing waits."""

    def __init__(
        self, context: ProcessContext, index: int, *, is_idle: bool, slow: frozenset[int]
    ) -> None:
        plan = context.plan
        self.context = context
        self.index = index
        self.name = plan.name(index)
        self.ops = 0 if is_idle else plan.ops_per_gathering
        self.log = LogCheck(self.ops)
        self.disturbed: set[int] = set()
        """Ops whose latency says nothing, since their author went away meanwhile."""
        self.clients = [Client(self, k) for k in range(plan.clients) if k not in slow]
        self.slow = [SlowReader(self, k) for k in sorted(slow)]
        self._incarnations: dict[str, Incarnation] = {}
        self._next = 0
        self._waiting: list[int] = []
        self._random = plan.random("crowd", index)
        for client in self.clients:
            self._plan_coming(client.number, client)
        for number, reader in zip(sorted(slow), self.slow, strict=True):
            self._plan_coming(number, reader)
        if self.ops:
            context.schedule.at(context.start + plan.op_due(index, 0), self._op_is_due)
            for client in self.clients:
                self._plan_leaving(client, context.start + plan.ramp)

    def _plan_coming(self, number: int, client: Client | SlowReader) -> None:
        due = self.context.start + self.context.plan.joins_at(self.index, number)
        self.context.schedule.at(due, client.arrive)

    # How it stands.

    @property
    def _everybody(self) -> list[Client | SlowReader]:
        return [*self.clients, *self.slow]

    @property
    def is_over(self) -> bool:
        """Whether no op will be due any more."""
        return self._next >= self.ops or self.context.stopping

    @property
    def alive(self) -> bool:
        """Whether any client is in the gathering and must be told its end."""
        return any(one.members for one in self._incarnations.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be expected: nobody's there, nobody comes, no op is due."""
        return (
            self.is_over
            and not self._waiting
            and all(one.is_gone and not one.submissions for one in self.clients)
        )

    def is_quiet(self, now: float) -> bool:
        """Whether the gathering might end before the next op is due."""
        timeout = self.context.idle_timeout
        if self.is_over or timeout is None:
            return True
        due = self.context.start + self.context.plan.op_due(self.index, self._next)
        return due > now + timeout / 2

    def incarnation(self, id_: str, idle_timeout: float) -> Incarnation:
        """Return the incarnation that a client has joined."""
        found = self._incarnations.get(id_)
        if found is None:
            found = self._incarnations[id_] = Incarnation(id_, idle_timeout)
        return found

    # Submitting.

    def _op_is_due(self) -> None:
        context, number = self.context, self._next
        if self.is_over:
            return
        self._next += 1
        if self._next < self.ops:
            due = context.start + context.plan.op_due(self.index, self._next)
            context.schedule.at(due, self._op_is_due)
        due = context.start + context.plan.op_due(self.index, number)
        author = self._author(number)
        if author is None:
            self._waiting.append(number)
            if all(one.is_gone for one in self.clients):
                self._wake()
        else:
            context.counters.lag_us.append(int((monotonic() - due) * 1e6))
            self._submit(author, number, due)

    def _author(self, number: int) -> Client | None:
        """Return whose turn it is to submit. All take turns; those that are away are skipped."""
        count = len(self.clients)
        for offset in range(count):
            client = self.clients[(number + offset) % count]
            if client.is_ready:
                return client
        return None

    def _submit(self, author: Client, number: int, due: float) -> None:
        op = LoadOp(number, author.number, round(due, 6), self.context.pad)
        author.submit(number, due, encode_op(op))

    def _wake(self) -> None:
        """The gathering ended between two ops: all come back, and it lives again."""
        for one in self._everybody:
            one.arrive()

    # Coming and going.

    def arrived(self) -> None:
        """Somebody has joined: the ops that waited for an author have one."""
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            author = self._author(number)
            if author is None:
                self._waiting.append(number)
            else:
                self.disturbed.add(number)
                self._submit(author, number, monotonic())

    def went(self, client: Client) -> None:
        """Somebody's connection is over."""
        context = self.context
        if client.submissions and not client.returning and not context.stopping:
            # Its ops weren't answered: it must come back and repeat them.
            client.returning = True
            context.schedule.at(monotonic() + AWAY_AT_MOST / 5, client.arrive)

    def _plan_leaving(self, client: Client, after: float) -> None:
        plan = self.context.plan
        if not plan.churn:
            return
        at = after + self._random.expovariate(plan.churn / 60)
        if at < self.context.start + plan.load_ends:
            self.context.schedule.at(at, partial(self._leave, client))

    def _leave(self, client: Client) -> None:
        now = monotonic()
        if not self.is_over and not client.is_gone:
            client.returning = True
            client.leave(politely=self._random.random() < 0.5)
            away = self._random.uniform(AWAY_AT_MOST / 10, AWAY_AT_MOST)
            self.context.schedule.at(now + away, client.arrive)
            now += away
        self._plan_leaving(client, now)

    # Watching over the ends.

    def watch(self, now: float) -> None:
        """Look for incarnations that have ended, or should have."""
        for client in self.clients:
            client.overdue(now)
        self._drop_what_waits_too_long(now)
        for id_, incarnation in tuple(self._incarnations.items()):
            if incarnation.members:
                self._look_at(incarnation, now)
            elif incarnation.first_notice is not None:
                self._ended(incarnation)
                del self._incarnations[id_]

    def _drop_what_waits_too_long(self, now: float) -> None:
        context = self.context
        patience = context.plan.patience
        while self._waiting:
            due = context.start + context.plan.op_due(self.index, self._waiting[0])
            if now - due < patience + AWAY_AT_MOST:
                return
            number = self._waiting.pop(0)
            what = f"nobody could submit op {number} for {patience:g} s"
            context.found(Finding(Kind.UNANSWERED, what), self.name)

    def _look_at(self, incarnation: Incarnation, now: float) -> None:
        patience = self.context.plan.patience
        if incarnation.first_notice is not None and now - incarnation.first_notice > patience:
            finding = Finding(
                Kind.NO_NOTICE, f"others were given notice more than {patience:g} s ago"
            )
        elif incarnation.first_notice is None and now - incarnation.due > patience:
            finding = Finding(
                Kind.OVERDUE, f"the gathering should have ended {now - incarnation.due:.1f} s ago"
            )
        else:
            return
        for client in self.clients:
            if client.incarnation is incarnation:
                self.context.found(finding, self.name, client.number)
                client.cut()

    def _ended(self, incarnation: Incarnation) -> None:
        counters, start = self.context.counters, self.context.start
        counters.counts["dispersed"] += 1
        counters.dispersals.append(
            Dispersal(
                at=incarnation.last_notice - start,
                late=incarnation.late,
                server_late=incarnation.idle_for - incarnation.idle_timeout,
            )
        )

    def undelivered(self) -> list[Client]:
        """Return the clients that are connected and lack an acknowledged op, or an answer."""
        return [
            one
            for one in self.clients
            if not one.is_gone and (one.submissions or one.delivery.have < self.log.acknowledged)
        ]

    def cut(self) -> None:
        """End all connections without a word."""
        for one in self._everybody:
            one.cut()
