"""The lifetime: by which rules one incarnation ends, what moves that, and what clients are told."""

import math
from collections.abc import Hashable
from typing import Any

import attrs
import trio
from attrs import field, frozen

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.life import Life
from squire_gatherings._hall.terms import Terms
from squire_gatherings._hall.turnstile import Turnstile
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._values.end_rules import EndRules, Explanation, Moved, fields_of, rules_with
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.messages import Ending
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.sleep import SleepState, Slept


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

    @property
    def key(self) -> Hashable:
        """The same for all that are equal."""
        return self.base, self.said, frozenset(self.changes.items())

    def slept(self, gathering: str, state: SleepState) -> Slept:
        """Return what a store remembers of a gathering that sleeps and has these."""
        said = None if self.said is None else fields_of(self.said)
        return Slept(gathering, state, fields_of(self.base), said, self.changes)

    @classmethod
    def of(cls, slept: Slept) -> "GivenRules":
        """Return those of a gathering that slept."""
        said = None if slept.said is None else rules_with(slept.said)
        return cls(rules_with(slept.base), said, slept.changes)


class Lifetime:
    """What a room does about its end. The room has the state."""

    __slots__ = ()

    id: str
    incarnation: str
    terms: Terms
    given: GivenRules
    deadline: Deadline
    turnstile: Turnstile
    scope: trio.CancelScope | None
    listed_at: float | None
    trouble: StoreUnavailable | None
    life: Life | None
    accepting: bool
    clients: dict[str, Client]

    # As the turnstile sees it.

    @property
    def waits(self) -> bool:
        """Whether it waits for messages within its scope."""
        return self.scope is not None

    @property
    def weight(self) -> int:
        """What its end costs: a notice to a client takes half as long as the rest."""
        return 1 + len(self.clients) // 2

    @property
    def wakes_at(self) -> float:
        """When its wait for messages is to end. With trouble in the store it may be sooner."""
        return self.deadline.next_at if self.trouble is None else -math.inf

    def arm(self, at: float) -> None:
        """Have the wait end then, or sooner."""
        if self.scope is not None:
            self.scope.deadline = min(self.scope.deadline, at)

    def disarm(self) -> None:
        """Don't have the wait end."""
        if self.scope is not None:
            self.scope.deadline = math.inf

    # What happens.

    def begun(self) -> None:
        """Note that it has begun to live, by the rules that are given."""
        if self.deadline.is_by_wall:
            self.look()
            self.terms.instants.add(self)

    def counted(self, what: str, client: Client, now: float) -> None:
        """Note how many clients there are, after `client` has come or gone."""
        deadline = self.deadline
        before = deadline.at
        deadline.attended(len(self.clients), now)
        if deadline.at != before:
            deadline.moved = Moved(what, client.identity.user, now)
        # It may have come nearer.
        self.rearm()

    def visited_when_empty(self, now: float) -> None:
        """Note that somebody asked for something that counts, while nobody is connected."""
        self.deadline.attended(0, now)
        self.deadline.visited(now)
        self.look_at_warning(now)
        self.rearm()

    def look(self) -> None:
        """Look at the wall clock, if that decides on anything."""
        deadline = self.deadline
        if deadline.is_by_wall:
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

    def sleep_after(self, seconds: float | None) -> None:
        """Have it fall asleep when nothing was processed for so long."""
        self.deadline.sleep_after = math.inf if seconds is None else seconds
        self.rearm()

    def fall_asleep_soon(self) -> None:
        """Have it fall asleep as soon as nothing is under way."""
        self.deadline.sleep_after = self.deadline.awake_to = -math.inf
        self.rearm()

    def rearm(self) -> None:
        """Set the timer, if something is due sooner than it was.

        One that fires too early is set anew then, so it need not be moved when its time moves away.
        """
        self.turnstile.hasten(self, self.deadline.next_at)

    def used(self, now: float, moved: type | None = None, mover: str | None = None) -> None:
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
        ending = self.ending(rule, at)
        if self.life is not None:
            self.life.ending(rule, ending.expires_in, ending.at_time)
        outgoing = Outgoing(ending)
        for client in tuple(self.clients.values()):
            if client is not joining and not client.is_mute:
                client.send(outgoing)

    def tell_what_stands(self, client: Client) -> None:
        """Tell a client of the end of which the others were told while its rights had ended."""
        told = self.deadline.told
        if told is not None:
            client.send(Outgoing(self.ending(told.rule, told.at)))

    def ending(self, rule: DispersalReason, at: float) -> Ending:
        """Return what the clients are told of an end at that time."""
        left = at - trio.current_time()
        if math.isinf(left):
            return Ending(self.id, self.incarnation, rule, None, None)
        left = max(0.0, left)
        at_time = round((self.terms.wall() + left) * 1000)
        return Ending(self.id, self.incarnation, rule, left, at_time)

    # For operators.

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
        if moved is None:
            return Moved("opened", None, deadline.opened_at)
        if isinstance(moved, type):
            # A message: `JoinRequest`, `Sync` …
            what = moved.__name__.removesuffix("Request").lower()
            return Moved(what, deadline.mover, deadline.last_processed_at)
        return moved
