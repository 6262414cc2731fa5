"""The truth: what was submitted, what is durable, which incarnations live, and what must hold.

The watchers (`tap`, `store`, `lives`) tell it; it asks the product nothing. It notes each broken
rule as a fault; the test ends with the first.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field

from squire_gatherings import Append, LifecycleEvent, Outcome, StoreUnavailable
from squire_gatherings._values.log import sync_of_each
from tests.system.book import FAILS, state_of
from tests.system.ends import check_end
from tests.system.events import Events
from tests.system.life import Life, Rules
from tests.system.logs import Key, Log, Logged, Logs

WAITED_FOR = ("opened", "joined_first")
"""The lifecycle events that must be durable before a gathering goes on."""


class Fault(AssertionError):
    """The product did what it must not do."""


@define(eq=False)
class Truth:
    """What is known of the whole system."""

    rules: Rules
    """Those that a gathering has which is opened now."""
    close_grace: float
    now: Callable[[], float]
    wall: Callable[[], float]
    faults: list[str] = field(factory=list)
    is_over: bool = False
    """Whether everything is being torn down, so that nothing counts any more."""
    submitted: dict[str, dict[str, Any]] = field(factory=dict)
    """Every op that was ever submitted, by its key."""
    submitted_at: dict[str, float] = field(factory=dict)
    denied: dict[str, float] = field(factory=dict)
    """The users who may submit nothing, with the time since when."""
    latest_wall: float = 0.0
    """The latest time that the wall clock has shown."""
    refused: dict[str, str] = field(factory=dict)
    """The reason why the ops with these keys will never be in a log."""
    excused: set[str] = field(factory=set)
    """Ops that were put off: later ones may have overtaken them."""
    submitted_to: dict[str, str] = field(factory=dict)
    """The gathering to which each op was submitted, by its key."""
    logs: Logs = field(factory=Logs)
    events: Events | None = None
    """The lifecycle events, where they are told."""
    limited: set[str] = field(factory=set)
    """The errors that limits may have brought about."""
    changing: Counter[str] = field(factory=Counter)
    """The number of calls under way that change a gathering's whole log."""
    lives: dict[str, Life] = field(factory=dict)
    """The living incarnations by gathering."""
    ended: list[Life] = field(factory=list)
    incarnations: dict[str, Life] = field(factory=dict)
    jumped_at: float = -math.inf
    """The time when the clock last jumped."""
    jumped_from: float = -math.inf
    stepped_at: float = -math.inf
    """The time when the wall clock was set last."""
    sleeps_badly: bool = False
    """Whether the store was ever told not to take who sleeps: then a waking may take a while, and
    an end may be lost at a restart."""
    put_out_at: float = -math.inf
    """The time when a user's connections were last closed by a call."""
    is_closing: bool = False
    may_crash: set[str] = field(factory=set)
    """Gatherings whose behaviour or store was ever told to fail."""
    came_back: set[str] = field(factory=set)
    """The incarnations that were told to have ended, and came back after a kill."""
    closed: set[str] = field(factory=set)
    """Gatherings whose connections were closed by a call ever, without a notice."""
    happened: defaultdict[str, int] = field(factory=lambda: defaultdict(int))
    """The number of times that each event happened: without events a test shows nothing."""

    def fault(self, text: str) -> None:
        """Note a broken rule."""
        if not self.is_over:
            self.faults.append(f"at {self.now():.3f}: {text}")

    def check(self, condition: object, text: str) -> None:
        """Note a broken rule unless the condition holds."""
        if not condition:
            self.fault(text)

    def settle(self) -> None:
        """Raise the faults that were noted."""
        if self.faults:
            raise Fault("\n".join(self.faults[:5]))

    def ahead(self) -> float:
        """Return by how many seconds the wall clock is ahead of the other."""
        return self.wall() - self.now()

    # What is submitted and logged.

    def submits(self, gathering: str, ops: Iterable[dict[str, Any]]) -> None:
        """Note ops that are about to be submitted."""
        for op in ops:
            self.submitted[op["k"]] = op
            self.submitted_at[op["k"]] = self.now()
            self.submitted_to[op["k"]] = gathering
            if op["do"] in FAILS:
                self.may_crash.add(gathering)

    def log(self, gathering: str) -> list[Logged]:
        """Return a gathering's durable ops."""
        return self.logs.now[gathering].ops

    def appended(self, append: Append) -> None:
        """Note and check an append that is durable now."""
        gathering, log = append.gathering, self.logs.now[append.gathering]
        self.check(append.first_seq == len(log.ops) + 1, f"{gathering}: a hole before {append}")
        counted = 0
        for sync in append.syncs:
            self.check(sync.first_seq == append.first_seq + counted, f"syncs overlap: {append}")
            counted += sync.count
        self.check(counted == len(append.ops), f"ops without a sync: {append}")
        self.latest_wall = max(self.latest_wall, self.wall())
        of_each = sync_of_each([sync.run for sync in append.syncs], append.first_seq)
        for logged, run in zip(append.ops, of_each, strict=False):
            came_from = None if run is None else (run.first_seq, run.count, run.id)
            one = Logged(logged.op.value, logged.by, logged.epoch, logged.time, came_from)
            self._logged(gathering, log, one)
        if append.snapshot is not None:
            state = written(state_of(log.keys(append.snapshot.seq)))
            self.check(append.snapshot.state == state, f"{gathering}: a wrong snapshot: {append}")

    def _logged(self, gathering: str, log: Log, logged: Logged) -> None:
        key, seq = logged.op["k"], len(log.ops) + 1
        submitted = self.submitted.get(key)
        if submitted is None:
            self.fault(f"{gathering} {seq}: nobody submitted {logged}")
            return
        expected = {**submitted, "merged": True} if "merged" in logged.op else submitted
        self.check(logged.op == expected, f"{gathering} {seq}: {logged} isn't {submitted}")
        place = log.places.setdefault(key, seq)
        self.check(place == seq, f"{key} applied twice: at {place} and {seq}")
        where = self.submitted_to[key]
        self.check(where == gathering, f"{gathering} {seq}: {key} was submitted to {where}")
        self.check(key not in self.refused, f"{key} applied, but {self.refused.get(key)}")
        if log.ops and log.ops[-1].epoch != logged.epoch:
            is_new = all(one.epoch != logged.epoch for one in log.ops)
            self.check(is_new, f"{gathering} {seq}: an old incarnation logs")
        before = log.ops[-1].time if log.ops else 1
        is_in_time = before <= logged.time <= 1000 * self.latest_wall + 1
        self.check(is_in_time, f"{gathering} {seq}: {logged} after {before}")
        denied_at = self.denied.get(logged.by or "", math.inf)
        if self.submitted_at[key] > denied_at:
            self.fault(f"{gathering} {seq}: {logged}, though denied since {denied_at}")
        log.ops.append(logged)
        author, _, number = key.rpartition(".")
        if key not in self.excused:
            last = log.last_of.get(author, -1)
            self.check(int(number) > last, f"{gathering} {seq}: {key} comes after {last}")
            log.last_of[author] = max(last, int(number))

    def synced(
        self, key: Key, seqs: tuple[int, ...], ops: list[dict[str, Any]], asked: Log
    ) -> None:
        """Check an answer that says that these ops are durable under these seqs.

        They are so in the log that was asked, or in the one that has replaced it meanwhile.
        """
        keys = tuple(op["k"] for op in ops)
        self.check(seqs == tuple(range(seqs[0], seqs[0] + len(ops))), f"{key}: seqs {seqs}")
        logs = (asked, self.logs.now[key[0]])
        log = next((one for one in logs if one.has(seqs, keys)), None)
        if log is None:
            there = [one.ops[seqs[0] - 1 : seqs[-1]] for one in logs]
            self.fault(f"{key} acknowledged as {seqs}: there is {there}")
            return
        before = log.answered.setdefault(key, (seqs, keys))
        self.check(before == (seqs, keys), f"{key} answered {before} and then {seqs}")
        self.happened["synced"] += 1

    def refuses(self, ops: Iterable[dict[str, Any]], why: str) -> None:
        """Note that these ops were refused for good."""
        for op in ops:
            place = self.logs.now[self.submitted_to[op["k"]]].places.get(op["k"])
            self.check(place is None, f"{op} is refused ({why}), and logged at {place}")
            self.refused[op["k"]] = why

    # Whole logs.

    def replaced(self, gathering: str, log: Log) -> None:
        """Note that another log is there: what was submitted before may be new to it."""
        self.check(gathering not in self.lives, f"{gathering}: its log is replaced while it lives")
        self.logs.replace(gathering, log)
        before = {key for key, where in self.submitted_to.items() if where == gathering}
        self.excused |= before
        for key in before & self.refused.keys():
            del self.refused[key]
        self.happened["replaced"] += 1

    def forked(self, gathering: str, new: str, seq: int) -> None:
        """Note that a log was copied up to a seq."""
        log = self.logs.now[gathering]
        self.check(not self.log(new), f"{new} is forked from {gathering}, and had a log")
        self.check(log.first_seq - 1 <= seq <= len(log.ops), f"{gathering} has no op {seq}")
        self.replaced(new, log.copy(seq))
        self.happened["forked"] += 1

    def adopted(self, gathering: str, first_seq: int, ops: list[Logged]) -> None:
        """Note that an exported log was taken in."""
        source = self.logs.with_ops(first_seq, ops)
        if source is None:
            self.fault(f"{gathering}: nobody exported {ops}, from {first_seq} on")
            return
        self.check(not self.log(gathering), f"{gathering} is imported, and had a log")
        log = source.copy(first_seq - 1 + len(ops))
        log.first_seq = first_seq
        self.replaced(gathering, log)
        self.happened["imported"] += 1

    def compacted(
        self, gathering: str, first_seq: int, up_to: int, state: bytes, *, forget_syncs: bool
    ) -> None:
        """Note that a log begins with `first_seq` from now on."""
        log = self.logs.now[gathering]
        what = f"{gathering} begins with {first_seq}, compacted up to {up_to}"
        self.check(gathering not in self.lives, f"{what}, while it lives")
        self.check(state == written(state_of(log.keys(up_to))), f"{what}: a wrong state: {state!r}")
        self.check(first_seq == up_to + 1 > log.first_seq, what)
        if forget_syncs:
            self.excused |= set(log.keys(first_seq - 1))
        log.cut_short(first_seq, forget_syncs=forget_syncs)
        self.happened["compacted"] += 1

    def change_began(self, gathering: str) -> None:
        """Note that a call is under way that disperses the gathering to change its log."""
        self.changing[gathering] += 1
        if (life := self.lives.get(gathering)) is not None:
            life.is_ending = True

    def change_ended(self, gathering: str) -> None:
        """Note that such a call is over; an end that it has begun may not be."""
        self.changing[gathering] -= 1
        if (life := self.lives.get(gathering)) is not None:
            life.is_ending = True

    # Which incarnations live.

    def spawned(self, gathering: str) -> None:
        """Note that an incarnation's task begins."""
        now = self.now()
        self.check(gathering not in self.lives, f"{gathering}: two incarnations at once")
        life = self.lives[gathering] = Life(
            gathering, self.rules, now, now, now, now, self.logs.now[gathering], now
        )
        self.happened["opened"] += 1
        life.is_ending = self.is_closing or self.changing[gathering] > 0

    def exited(self, gathering: str, reason: str | None) -> None:
        """Note that it has ended. Without a `reason` it was never opened."""
        life = self.lives.pop(gathering, None)
        if life is None:
            self.fault(f"{gathering} ended twice")
            return
        self.ended.append(life)
        life.end = reason
        if reason is not None:
            self.happened[reason] += 1
            if not (life.is_doubtful or self.sleeps_badly):
                check_end(self, life, reason)
                told = {one.notice["reason"] for one in life.clients if one.notice is not None}
                fair = {reason, "shutdown"} if life.has_slept_on else {reason}
                self.check(told <= fair, f"{gathering} ended ({reason}), and told {told}")

    def sleeps_on(self, gathering: str) -> None:
        """Note that it slept when its hall ended, and is to go on in the next one."""
        if (life := self.lives.get(gathering)) is not None and self.events is not None:
            self.events.slept_on.add(life.incarnation or "")

    def taken_up(self, names: dict[str, str], *, may_forget: bool) -> None:
        """Note which incarnations a new hall goes on with, by gathering.

        With `may_forget` it may lack the last of what became of them.
        """
        for gathering, life in tuple(self.lives.items()):
            if gathering not in names:
                self.check(may_forget, f"slept, and is gone after a restart: {life}")
                self.ended.append(self.lives.pop(gathering))
        for gathering, name in names.items():
            found = self._slept(gathering, name)
            if found is None:
                self.fault(f"{gathering}: {name} slept, and nobody knows of it")
                continue
            life, other = found, self.lives.pop(gathering, None)
            if other is not None and other is not life:
                self.ended.append(other)
            if life.end not in (None, "shutdown") or other not in (None, life):
                # Its end was told, and not noted before the process was killed.
                self.check(may_forget, f"{gathering}: {name} comes back, and had ended: {life}")
                self.came_back.add(name)
                if self.events is not None:
                    self.events.came_back.add(name)
            if life in self.ended:
                self.ended.remove(life)
            life.incarnation, life.end = name, None
            self.lives[gathering] = self.incarnations[name] = life
            life.goes_on(self.now())
            # What was changed as the process was killed may have been forgotten.
            life.is_doubtful |= may_forget
            self.happened["slept on"] += 1

    def _slept(self, gathering: str, name: str) -> Life | None:
        """Return the incarnation of this name; one that nobody has heard of has none yet."""
        one = self.incarnations.get(name)
        if one is None:
            living = self.lives.get(gathering)
            unnamed = [living] if living is not None else [*reversed(self.ended)]
            one = next((one for one in unnamed if _is_new(one, gathering)), None)
        return one

    def meet(self, gathering: str, incarnation: str) -> Life | None:
        """Return the incarnation of this name; None if there's none."""
        life = self.incarnations.get(incarnation)
        if life is None:
            life = self.lives.get(gathering)
            ended = next((one for one in reversed(self.ended) if _is_new(one, gathering)), None)
            if life is None or life.incarnation is not None:
                # The message was sent just before the end, and arrives just after it.
                life = ended
            elif ended is not None:
                # It may be the name of either: messages of sockets arrive when they're read.
                life.is_doubtful = ended.is_doubtful = True
            if life is not None:
                life.incarnation = incarnation
                self.incarnations[incarnation] = life
        return life

    def used(self, gathering: str, *, surely: bool = False) -> None:
        """Note that the gathering was used just now; without `surely`, it may have been."""
        life = self.lives.get(gathering)
        if life is not None:
            now = self.now()
            life.used_to = now
            life.has_heard = True
            if surely:
                life.was_used = True
                life.used_from = max(life.used_from, self.before_jump(now))

    def changed(self, gathering: str, changes: dict[str, Any]) -> None:
        """Note that a gathering has other rules from now on."""
        if (life := self.lives.get(gathering)) is not None:
            life.change(changes, self.now())
            self.happened["changed"] += 1

    def held(self, gathering: str, until: float | None) -> None:
        """Note that no rule may end it before this instant; None takes an earlier hold back."""
        if (life := self.lives.get(gathering)) is not None:
            life.hold(-math.inf if until is None else until, self.now())
            self.happened["held"] += 1

    def extended(self, gathering: str, seconds: float) -> None:
        """Note that its end was put off by so many seconds."""
        if (life := self.lives.get(gathering)) is not None:
            life.extend(seconds, self.now(), self.ahead())
            self.happened["extended"] += 1

    def warned_anyway(self, gathering: str) -> None:
        """Note that its clients were warned by a call, however far its end may be."""
        if (life := self.lives.get(gathering)) is not None:
            life.warns_before = math.inf

    def wall_steps(self) -> None:
        """Note that the wall clock is about to be set."""
        self.latest_wall = max(self.latest_wall, self.wall())
        self.stepped_at = self.now()
        for life in self.lives.values():
            life.stepped_at = self.now()

    def visited(self, gathering: str) -> None:
        """Note that a client that wasn't in the gathering may just have gone."""
        life = self.lives.get(gathering)
        if life is not None:
            life.gone_to = self.now()

    def before_jump(self, now: float) -> float:
        """Return the earliest time at which what is seen now may have happened."""
        return self.jumped_from if now == self.jumped_at else now

    # What the store does.

    def append_began(self, gathering: str) -> None:
        """Note that an append is under way."""
        life = self.lives.get(gathering)
        if life is not None:
            life.appending += 1
            life.has_heard = False

    def append_ended(self, gathering: str, outcome: Outcome) -> None:
        """Note that an append has ended."""
        life = self.lives.get(gathering)
        if life is None:
            return
        now = self.now()
        life.appending -= 1
        life.store_ended_at = now
        if not life.in_trouble or life.has_heard:
            life.used_to = now
        if not life.in_trouble:
            life.was_used = True
            life.used_from = max(life.used_from, self.before_jump(now))
        life.in_trouble = outcome is not None
        if outcome is not None and not isinstance(outcome, StoreUnavailable):
            self.may_crash.add(gathering)

    def read_began(self, gathering: str) -> None:
        """Note that the store reads its log."""
        life = self.lives.get(gathering)
        if life is not None:
            life.reading += 1

    def read_ended(self, gathering: str) -> None:
        """Note that the store has read it."""
        life = self.lives.get(gathering)
        if life is not None:
            life.reading -= 1
            if life.incarnation is None and not life.was_restored:
                life.opened_at, life.was_restored = self.now(), True
            life.used_to = life.gone_to = life.store_ended_at = self.now()

    def events_written(self, events: Sequence[LifecycleEvent]) -> None:
        """Note that events are durable."""
        if self.events is not None:
            self.events.written(events)

    def events_known(self, events: Sequence[LifecycleEvent]) -> None:
        """Note that the hall knows that events are durable; somebody may have waited for that."""
        for event in events:
            life = self.lives.get(event.gathering)
            if life is not None and event.kind in WAITED_FOR:
                life.used_to = life.gone_to = life.store_ended_at = self.now()


def written(state: list[int]) -> bytes:
    """Return a state as a store keeps it."""
    return str(state).replace(" ", "").encode()


def _is_new(life: Life, gathering: str) -> bool:
    return life.gathering == gathering and life.incarnation is None
