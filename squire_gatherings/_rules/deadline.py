"""The deadline: plain arithmetic on the moments at which a gathering was used, and its rules."""

import math

from attrs import define, field, frozen

from squire_gatherings._values.end_rules import EndRules, Moved
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.handover import DeadlineState

SAME = 1e-5
"""Two ends that differ by less than this are the same: an instant of the wall clock is computed
anew each time."""

ANSWERED = frozenset(
    {
        DispersalReason.IDLE,
        DispersalReason.EMPTY,
        DispersalReason.UNJOINED,
        DispersalReason.ALONE,
    }
)
"""The rules whose end a message may still move."""

Ends = list[tuple[DispersalReason, float]]


@frozen
class Told:
    """An end that the clients were told of."""

    rule: DispersalReason
    at: float
    since: float
    """When they were told."""


@define(weakref_slot=False)
class Deadline:
    """When a gathering ends unless something happens before, and by which rule.

    Times are seconds on one monotonic clock. What the wall clock decides is computed from what
    `look` was told last.
    """

    rules: EndRules
    opened_at: float
    last_processed_at: float
    """When a message that counts was processed last. The only thing that a message sets."""
    emptied_at: float | None = None
    """Since when nobody is connected; None while somebody is, or may be about to be."""
    few_since: float | None = None
    """Since when at most `alone_clients` are connected."""
    was_joined: bool = False
    extended_to: float = -math.inf
    """No rule ends it before."""
    told: Told | None = None
    """What the clients were told last, while it stands."""
    moved: type | Moved | None = None
    """What moved it last: a message of this type, or something else; None for the opening."""
    mover: str | None = None
    """Whose message that was."""
    sleep_after: float = math.inf
    """So many seconds after a message that counts it is to fall asleep; infinity for never."""
    awake_to: float = -math.inf
    """It doesn't fall asleep before."""
    acts_at_time: int | None = None
    """When it is to do something by itself, in milliseconds since 1970; None for never."""
    _acts_at: float = field(default=math.inf, init=False)
    _instant_at: float = field(default=math.inf, init=False)
    _held_to: float = field(default=-math.inf, init=False)

    # What it is told.

    def look(self, now: float, wall: float) -> None:
        """Note what the wall clock says, which may have been set."""
        rules = self.rules
        self._instant_at = math.inf if rules.ends_at is None else now + (rules.ends_at - wall)
        self._held_to = -math.inf if rules.hold_until is None else now + (rules.hold_until - wall)
        if self.acts_at_time is not None:
            self._acts_at = now + (self.acts_at_time / 1000 - wall)

    def attended(self, clients: int, now: float) -> None:
        """Note how many clients are connected."""
        if clients:
            self.was_joined = True
            self.emptied_at = None
        elif self.emptied_at is None:
            self.emptied_at = now
        if clients > self.rules.alone_clients:
            self.few_since = None
        elif self.few_since is None:
            self.few_since = now

    def visited(self, now: float) -> None:
        """Note that somebody asked for something that counts, while nobody is connected."""
        self.emptied_at = now

    def change(self, rules: EndRules, clients: int, now: float, wall: float) -> None:
        """Take other rules from now on."""
        self.rules = rules
        if self.few_since is not None or clients:
            # Those who are about to come in for the first time aren't few.
            if clients > rules.alone_clients:
                self.few_since = None
            elif self.few_since is None:
                self.few_since = now
        self.look(now, wall)

    def extend(self, seconds: float) -> None:
        """Let no rule end it before the end that it has now + `seconds`."""
        at = self.at
        if at < math.inf:
            self.extended_to = at + seconds

    # Handing over.

    def state(self, moved: Moved, ahead: float) -> DeadlineState:
        """Return what another process goes on with, whose clock is `ahead` by so many seconds.

        `moved` is what moved it last.
        """
        told = self.told
        return DeadlineState(
            self.opened_at + ahead,
            self.last_processed_at + ahead,
            _later(self.emptied_at, ahead),
            _later(self.few_since, ahead),
            self.was_joined,
            self.extended_to + ahead,
            None if told is None else (told.rule, told.at + ahead, told.since + ahead),
            (moved.what, moved.by, moved.at + ahead),
        )

    def resume(self, state: DeadlineState, ahead: float) -> None:
        """Go on with what another process was at; our clock is `ahead` of its by so much."""
        self.opened_at = state.opened_at + ahead
        self.last_processed_at = state.last_processed_at + ahead
        self.emptied_at = _later(state.emptied_at, ahead)
        self.few_since = _later(state.few_since, ahead)
        self.was_joined = state.was_joined
        self.extended_to = state.extended_to + ahead
        if state.told is not None:
            rule, at, since = state.told
            self.told = Told(DispersalReason(rule), at + ahead, since + ahead)
        what, by, at = state.moved
        self.moved, self.mover = Moved(what, by, at + ahead), by

    # When it ends.

    @property
    def at(self) -> float:
        """The instant of the end, as things stand; infinity for never."""
        rules = self.rules
        if rules.is_plain:
            at = self.last_processed_at + rules.idle_timeout
            if self.emptied_at is not None and rules.empty_timeout is not None:
                at = min(at, self.emptied_at + rules.empty_timeout)
        else:
            at = min(at for _, at in self.ends())
        return max(at, self.extended_to, self._held_to)

    @property
    def which(self) -> DispersalReason | None:
        """The rule that ends it then: the one with the earliest end. None where none ever does.

        Of several with the same end, it is the first in the order of `ends`.
        """
        rule, at = min(self.ends(), key=lambda one: one[1])
        return rule if at < math.inf else None

    @property
    def is_final(self) -> bool:
        """Whether the rule that ends it is one that no message can put off."""
        return self.which not in ANSWERED

    @property
    def final_at(self) -> float:
        """When it ends whatever is said, as things stand; infinity for never."""
        finals = (at for rule, at in self.ends() if rule not in ANSWERED)
        return max(min(finals, default=math.inf), self.held_to)

    @property
    def held_to(self) -> float:
        """No rule ends it before this; minus infinity where nothing holds it."""
        return max(self.extended_to, self._held_to)

    def ends(self) -> Ends:
        """Return when each rule would end it, of those that run now."""
        rules, last = self.rules, self.last_processed_at
        ends = [(DispersalReason.IDLE, last + rules.idle_timeout)]
        if self.emptied_at is not None:
            if rules.empty_timeout is not None:
                ends.append((DispersalReason.EMPTY, self.emptied_at + rules.empty_timeout))
            if rules.unjoined_timeout is not None and not self.was_joined:
                ends.append((DispersalReason.UNJOINED, self.emptied_at + rules.unjoined_timeout))
        if rules.alone_timeout is not None and self.few_since is not None:
            ends.append((DispersalReason.ALONE, max(self.few_since, last) + rules.alone_timeout))
        if rules.max_age is not None:
            ends.append((DispersalReason.MAX_AGE, self.opened_at + rules.max_age))
        if rules.ends_at is not None:
            ends.append((DispersalReason.ENDS_AT, self._instant_at))
        return ends

    # When it acts by itself.

    @property
    def is_by_wall(self) -> bool:
        """Whether anything depends on the wall clock."""
        return self.rules.is_by_wall or self.acts_at_time is not None

    @property
    def acts_at(self) -> float:
        """When it is to do something by itself; infinity for never."""
        return math.inf if self.acts_at_time is None else self._acts_at

    # When the clients are warned.

    @property
    def warn_at(self) -> float:
        """When the clients are to be warned next; infinity for never."""
        before = self.rules.warn_before
        if before is None:
            return math.inf
        _, end = self._to_warn_of(before)
        at = end - before
        if self.told is not None and self.told.since >= at and self.told.at < end + SAME:
            # They know of an end that is as near.
            return math.inf
        return at

    @property
    def next_at(self) -> float:
        """When something is to be done next: a warning, the end, an act, or to fall asleep."""
        at = self.wakes_at
        return at if self.sleep_after == math.inf else min(at, self.sleep_at)

    @property
    def wakes_at(self) -> float:
        """When something is to be done next for one that sleeps: a warning, the end, or an act."""
        at = self.at
        if self.rules.warn_before is not None:
            at = min(at, self.warn_at)
        return at if self.acts_at_time is None else min(at, self._acts_at)

    @property
    def sleep_at(self) -> float:
        """When it is to fall asleep, if nothing is under way then."""
        return max(self.last_processed_at + self.sleep_after, self.awake_to)

    def warn(self, now: float) -> Told | None:
        """Return what the clients are to be told now, if they are to be warned.

        It is noted as told.
        """
        if now < self.warn_at or self.rules.warn_before is None:
            return None
        rule, end = self._to_warn_of(self.rules.warn_before)
        self.told = Told(rule, end, now)
        return self.told

    def warn_anyway(self, now: float) -> Told | None:
        """Return what the clients can be told now of the end; None where there's none."""
        rule, end = self.which, self.at
        if rule is None or end == math.inf:
            return None
        self.told = Told(rule, end, now)
        return self.told

    @property
    def stands(self) -> bool:
        """Whether what the clients were told is still so."""
        if self.told is None:
            return True
        end = dict(self.ends()).get(self.told.rule, math.inf)
        end = max(end, self.held_to)
        return end == self.told.at or abs(end - self.told.at) < SAME

    def _to_warn_of(self, before: float) -> tuple[DispersalReason, float]:
        """Return the earliest end of a rule that has more time than the warning."""
        rules = self.rules
        times = {
            DispersalReason.IDLE: rules.idle_timeout,
            DispersalReason.EMPTY: rules.empty_timeout,
            DispersalReason.UNJOINED: rules.unjoined_timeout,
            DispersalReason.ALONE: rules.alone_timeout,
            DispersalReason.MAX_AGE: rules.max_age,
        }
        found = (DispersalReason.IDLE, math.inf)
        for rule, at in self.ends():
            time = times.get(rule)
            if at < found[1] and (time is None or time > before):
                found = (rule, at)
        return found[0], max(found[1], self.held_to)


def _later(at: float | None, seconds: float) -> float | None:
    return None if at is None else at + seconds
