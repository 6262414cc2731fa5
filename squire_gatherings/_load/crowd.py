"""The crowd: all the onlookers of one gathering, which live in one generator process.

That they live together makes every check local: what each of them gets is compared with
one ledger, and the last counted message of all is known by one clock.
"""

from functools import partial
from time import monotonic

from squire_gatherings._load.findings import Finding, Kind
from squire_gatherings._load.ledger import Ledger
from squire_gatherings._load.life import Life
from squire_gatherings._load.messages import ENCODE, LoadOp
from squire_gatherings._load.onlooker import AWAY_AT_MOST, Onlooker
from squire_gatherings._load.slow_reader import SlowReader
from squire_gatherings._load.tally import Dispersal
from squire_gatherings._load.workshop import Workshop


class Crowd:
    """One gathering's onlookers, its ops' schedule, and its lives. Nothing here waits."""

    def __init__(
        self, workshop: Workshop, index: int, *, is_idle: bool, slow: frozenset[int]
    ) -> None:
        plan = workshop.plan
        self.workshop = workshop
        self.index = index
        self.name = plan.name(index)
        self.ops = 0 if is_idle else plan.ops_per_gathering
        self.ledger = Ledger(self.ops)
        self.disturbed: set[int] = set()
        """Ops whose latency says nothing, since their author went away meanwhile."""
        self.onlookers = [Onlooker(self, k) for k in range(plan.onlookers) if k not in slow]
        self.slow = [SlowReader(self, k) for k in sorted(slow)]
        self._lives: dict[str, Life] = {}
        self._next = 0
        self._waiting: list[int] = []
        self._random = plan.random("crowd", index)
        for onlooker in self.onlookers:
            self._plan_coming(onlooker.number, onlooker)
        for number, reader in zip(sorted(slow), self.slow, strict=True):
            self._plan_coming(number, reader)
        if self.ops:
            workshop.agenda.at(workshop.start + plan.op_due(index, 0), self._op_is_due)
            for onlooker in self.onlookers:
                self._plan_leaving(onlooker, workshop.start + plan.ramp)

    def _plan_coming(self, number: int, who: Onlooker | SlowReader) -> None:
        due = self.workshop.start + self.workshop.plan.joins_at(self.index, number)
        self.workshop.agenda.at(due, who.arrive)

    # How it stands.

    @property
    def _everybody(self) -> list[Onlooker | SlowReader]:
        return [*self.onlookers, *self.slow]

    @property
    def is_over(self) -> bool:
        """Whether no op will be due any more."""
        return self._next >= self.ops or self.workshop.stopping

    @property
    def alive(self) -> bool:
        """Whether somebody is in the gathering who must be told its end."""
        return any(life.members for life in self._lives.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is to be expected: nobody's there, nobody comes, no op is due."""
        return (
            self.is_over
            and not self._waiting
            and all(one.is_gone and not one.submitted for one in self.onlookers)
        )

    def is_quiet(self, now: float) -> bool:
        """Whether the gathering might end before the next op is due."""
        timeout = self.workshop.idle_timeout
        if self.is_over or timeout is None:
            return True
        due = self.workshop.start + self.workshop.plan.op_due(self.index, self._next)
        return due > now + timeout / 2

    def life(self, incarnation: str, idle_timeout: float) -> Life:
        """Return the life that an onlooker has joined."""
        life = self._lives.get(incarnation)
        if life is None:
            life = self._lives[incarnation] = Life(incarnation, idle_timeout)
        return life

    # Submitting.

    def _op_is_due(self) -> None:
        workshop, number = self.workshop, self._next
        if self.is_over:
            return
        self._next += 1
        if self._next < self.ops:
            due = workshop.start + workshop.plan.op_due(self.index, self._next)
            workshop.agenda.at(due, self._op_is_due)
        due = workshop.start + workshop.plan.op_due(self.index, number)
        author = self._author(number)
        if author is None:
            self._waiting.append(number)
            if all(one.is_gone for one in self.onlookers):
                self._wake()
        else:
            workshop.tally.lag_us.append(int((monotonic() - due) * 1e6))
            self._submit(author, number, due)

    def _author(self, number: int) -> Onlooker | None:
        """Everybody submits in turn; who is away is skipped."""
        count = len(self.onlookers)
        for offset in range(count):
            onlooker = self.onlookers[(number + offset) % count]
            if onlooker.is_ready:
                return onlooker
        return None

    def _submit(self, author: Onlooker, number: int, due: float) -> None:
        op = LoadOp(number, author.number, round(due, 6), self.workshop.pad)
        author.submit(number, due, ENCODE(op))

    def _wake(self) -> None:
        """The gathering ended between two ops: all come back, and it lives again."""
        for one in self._everybody:
            one.arrive()

    # Coming and going.

    def arrived(self) -> None:
        """Somebody has joined: what waited for an author has one."""
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            author = self._author(number)
            if author is None:
                self._waiting.append(number)
            else:
                self.disturbed.add(number)
                self._submit(author, number, monotonic())

    def went(self, onlooker: Onlooker) -> None:
        """Somebody's connection is over."""
        workshop = self.workshop
        if onlooker.submitted and not onlooker.returning and not workshop.stopping:
            # Its ops weren't answered: it must come back and repeat them.
            onlooker.returning = True
            workshop.agenda.at(monotonic() + AWAY_AT_MOST / 5, onlooker.arrive)

    def _plan_leaving(self, onlooker: Onlooker, after: float) -> None:
        plan = self.workshop.plan
        if not plan.churn:
            return
        at = after + self._random.expovariate(plan.churn / 60)
        if at < self.workshop.start + plan.load_ends:
            self.workshop.agenda.at(at, partial(self._leave, onlooker))

    def _leave(self, onlooker: Onlooker) -> None:
        now = monotonic()
        if not self.is_over and not onlooker.is_gone:
            onlooker.returning = True
            onlooker.leave(politely=self._random.random() < 0.5)
            away = self._random.uniform(AWAY_AT_MOST / 10, AWAY_AT_MOST)
            self.workshop.agenda.at(now + away, onlooker.arrive)
            now += away
        self._plan_leaving(onlooker, now)

    # Watching over the ends.

    def watch(self, now: float) -> None:
        """Look for lives that have ended, or should have."""
        for onlooker in self.onlookers:
            onlooker.overdue(now)
        self._drop_what_waits_too_long(now)
        for incarnation, life in tuple(self._lives.items()):
            if not life.members:
                if life.first_notice is not None:
                    self._ended(life)
                    del self._lives[incarnation]
            else:
                self._look_at(life, now)

    def _drop_what_waits_too_long(self, now: float) -> None:
        workshop = self.workshop
        patience = workshop.plan.patience
        while self._waiting:
            due = workshop.start + workshop.plan.op_due(self.index, self._waiting[0])
            if now - due < patience + AWAY_AT_MOST:
                return
            number = self._waiting.pop(0)
            what = f"nobody could submit op {number} for {patience:g} s"
            workshop.found(Finding(Kind.UNANSWERED, what), self.name)

    def _look_at(self, life: Life, now: float) -> None:
        patience = self.workshop.plan.patience
        if life.first_notice is not None and now - life.first_notice > patience:
            finding = Finding(
                Kind.NO_NOTICE, f"others were given notice more than {patience:g} s ago"
            )
        elif life.first_notice is None and now - life.due > patience:
            finding = Finding(
                Kind.OVERDUE, f"the gathering should have ended {now - life.due:.1f} s ago"
            )
        else:
            return
        for onlooker in self.onlookers:
            if onlooker.life is life:
                self.workshop.found(finding, self.name, onlooker.number)
                onlooker.cut()

    def _ended(self, life: Life) -> None:
        tally, start = self.workshop.tally, self.workshop.start
        tally.counts["dispersed"] += 1
        server_late = life.idle_for - life.idle_timeout
        tally.dispersals.append(Dispersal(life.last_notice - start, life.late, server_late))

    def undelivered(self) -> list[Onlooker]:
        """Return who is connected and lacks something that was acknowledged, or an answer."""
        return [
            one
            for one in self.onlookers
            if not one.is_gone and (one.submitted or one.feed.have < self.ledger.acknowledged)
        ]

    def cut(self) -> None:
        """End all connections without a word."""
        for one in self._everybody:
            one.cut()
