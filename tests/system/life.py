"""Life: one incarnation as the watchers see it, its rules, and between which bounds it ends."""

import math
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from tests.system.logs import Log

if TYPE_CHECKING:
    from tests.system.tap import Tap


@frozen
class Rules:
    """When a gathering ends by itself: the times that the hall, or a call, gives it."""

    idle_timeout: float = 20.0
    empty_timeout: float | None = None
    unjoined_timeout: float | None = None
    alone_timeout: float | None = None
    alone_clients: int = 1
    max_age: float | None = None
    warn_before: float | None = None
    ends_at: float | None = None
    """An instant of the wall clock."""

    def time_of(self, rule: str) -> float | None:
        """Return how long a rule takes; infinity where that is no matter of time."""
        if rule == "ends_at":
            return None if self.ends_at is None else math.inf
        found: float | None = getattr(self, rule if rule == "max_age" else f"{rule}_timeout")
        return found


@define(eq=False)
class Life:
    """One incarnation, as the watchers see it.

    The last use and the last client's leaving are known within bounds: what arrives while the store
    is slow is processed some time later.
    """

    gathering: str
    rules: Rules
    used_from: float
    used_to: float
    gone_from: float
    gone_to: float
    log: Log
    """The log that it has: another one comes only with another incarnation."""
    opened_at: float
    """The time when it was restored."""
    few_from: float = -math.inf
    """At this time there certainly were more clients than count as alone."""
    hold_until: float = -math.inf
    """No rule ends it before this instant of the wall clock."""
    extended_from: float = -math.inf
    extended_to: float = -math.inf
    """No rule ends it before a time between these two."""
    changed_at: float = -math.inf
    """The time when its rules were changed last, or a hold."""
    stepped_at: float = -math.inf
    """The time when the wall clock was set last."""
    warns_before: float = 0.0
    """The longest time before an end at which its clients may ever have been warned."""
    store_ended_at: float = -math.inf
    """The time when the store last finished an append or a read for it."""
    incarnation: str | None = None
    clients: "list[Tap]" = field(factory=list, repr=False)
    """All clients that were ever in it."""
    appending: int = 0
    reading: int = 0
    has_heard: bool = False
    """Whether any message came since the append under way began."""
    in_trouble: bool = False
    """Whether the last append has failed."""
    was_used: bool = False
    """Whether it certainly was used."""
    was_restored: bool = False
    is_ending: bool = False
    """Whether its end was requested."""
    has_slept_on: bool = False
    """Whether it has slept through the end of a hall, of which its clients were told."""
    end: str | None = None
    """The reason of its end, if it has ended and a reason was counted."""
    is_doubtful: bool = False
    """Whether its name may be another's, which ended before anybody had heard of it."""

    def __attrs_post_init__(self) -> None:
        self.warns_before = self.rules.warn_before or 0.0

    @property
    def gone_at_last(self) -> float:
        """The latest moment at which its last client may have gone."""
        return max(self.gone_from, self.gone_to)

    @property
    def is_occupied(self) -> bool:
        """Whether a client may be in it."""
        return self._may_be_there > 0

    @property
    def is_put_off(self) -> bool:
        """Whether anything but its rules has ever put its end off."""
        return max(self.hold_until, self.extended_to) > -math.inf

    @property
    def is_by_wall(self) -> bool:
        """Whether the wall clock decides on its end."""
        return self.hold_until > -math.inf or self.rules.ends_at is not None

    @property
    def moved_at(self) -> float:
        """The last time at which anything but a message or a client may have moved its end."""
        return max(self.opened_at, self.store_ended_at, self.changed_at, self.stepped_at)

    @property
    def _may_be_there(self) -> int:
        return sum(one.is_in or one.is_stuck or one.is_blind for one in self.clients)

    def client_goes(self, now: float) -> None:
        """Note that one of its clients may be about to go."""
        there = {one.name for one in self.clients if one.is_in and not one.is_doubtful}
        if len(there) > self.rules.alone_clients:
            self.few_from = now

    def change(self, changes: dict[str, Any], now: float) -> None:
        """Note that it has other rules from now on."""
        self.client_goes(now)
        self.rules = evolve(self.rules, **changes)
        self.changed_at = now
        self.warns_before = max(self.warns_before, self.rules.warn_before or 0.0)

    def hold(self, until: float, now: float) -> None:
        """Note that no rule may end it before this instant; an earlier one is forgotten."""
        self.hold_until, self.changed_at = until, now

    def extend(self, seconds: float, now: float, ahead: float) -> None:
        """Note that no rule may end it before its end + so many seconds."""
        earliest = max(self.held_from(ahead), min(self.earliest(ahead).values()))
        latest = max(self.held_to(ahead), min(self.latest(ahead).values()))
        self.extended_from = max(self.extended_from, earliest + seconds)
        self.extended_to = max(self.extended_to, latest + seconds)
        self.changed_at = now

    def goes_on(self, now: float) -> None:
        """Note that it has slept through the end of its hall, and that another hall has it now."""
        self.has_slept_on = True
        self.changed_at = self.gone_to = now
        self.appending = self.reading = 0
        self.in_trouble = self.is_ending = False
        # Its times are kept by the wall clock, as it was when it fell asleep.
        self.is_doubtful |= self.stepped_at > -math.inf

    # When it ends. `ahead` is by how much the wall clock is ahead.

    def held_from(self, ahead: float) -> float:
        """Return the time before which no rule ends it, in any case."""
        return max(self.hold_until - ahead, self.extended_from)

    def held_to(self, ahead: float) -> float:
        """Return the time before which perhaps no rule ends it."""
        return max(self.hold_until - ahead, self.extended_to)

    def earliest(self, ahead: float) -> dict[str, float]:
        """Return for each rule the first moment at which it may end it, if nothing holds it."""
        since = {
            "idle": self.used_from,
            "empty": self.gone_from,
            "unjoined": self.gone_from,
            "alone": max(self.few_from, self.used_from),
        }
        return self._ends(since, ahead)

    def latest(self, ahead: float) -> dict[str, float]:
        """Return for each rule that certainly runs the last moment at which it ends it."""
        rules, there = self.rules, self._may_be_there
        since = {"idle": self.used_to}
        if not there and self.was_used:
            since["empty"] = self.gone_at_last
        was_joined = any(one.joined is not None for one in self.clients)
        if was_joined and there <= rules.alone_clients:
            since["alone"] = max(self.gone_at_last, self.used_to, self.few_from)
        return self._ends(since, ahead)

    def _ends(self, since: dict[str, float], ahead: float) -> dict[str, float]:
        rules = self.rules
        ends = {
            rule: at + time
            for rule, at in since.items()
            if (time := rules.time_of(rule)) is not None
        }
        if rules.max_age is not None:
            ends["max_age"] = self.opened_at + rules.max_age
        if rules.ends_at is not None:
            ends["ends_at"] = rules.ends_at - ahead
        return ends
