"""Events: what is durable of lifecycle events, and what the program was told of them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from squire_gatherings import EventKind, LifecycleEvent
from tests.events.telling import check, once

LOST = "lost"
"""How an end is told that nobody noted."""


@define(eq=False)
class Events:
    """The events of all halls, one after the other."""

    told: list[LifecycleEvent] = field(factory=list)
    """What was delivered, some of it perhaps several times."""
    durable: defaultdict[str, list[LifecycleEvent]] = field(factory=lambda: defaultdict(list))
    """What the store has had, by incarnation."""
    let_in: set[str] = field(factory=set)
    """The incarnations that somebody was let in to."""
    notices: dict[str, str] = field(factory=dict)
    """The reason of each end that somebody was told of, by incarnation."""
    slept_on: set[str] = field(factory=set)
    """The incarnations that slept when a hall ended, though it said `shutdown` to clients."""
    came_back: set[str] = field(factory=set)
    """The incarnations that came back after their end, since a kill was faster than its note."""
    may_be_lost: set[str] = field(factory=set)
    """The incarnations whose end may not have been noted."""
    _last: int = 0

    def written(self, events: Sequence[LifecycleEvent]) -> None:
        """Note that these are durable, or were before."""
        for event in events:
            if event.number > self._last:
                self._last = event.number
                self.durable[event.incarnation].append(event)

    def unnoted(self) -> None:
        """Note that whatever is open now may end without a note."""
        for incarnation, events in self.durable.items():
            if events[-1].kind is not EventKind.DISPERSED:
                self.may_be_lost.add(incarnation)

    def kinds(self, incarnation: str) -> list[str]:
        """Return the kinds of what is durable of an incarnation."""
        return [str(event.kind) for event in self.durable[incarnation]]

    def what_is_wrong(self) -> str | None:
        """Return what is wrong with all that was told, once everything has ended."""
        try:
            kinds = check(self.told, all_ended=True, left_out=self.came_back)
        except AssertionError as error:
            return f"events are missing, or out of order: {error}: {self.told}"
        ends: dict[str, dict[str, Any]] = {
            event.incarnation: event.data
            for event in once(self.told, left_out=self.came_back)
            if event.kind is EventKind.DISPERSED
        }
        for incarnation in self.let_in - self.came_back:
            if EventKind.JOINED_FIRST not in kinds.get(incarnation, []):
                return f"who was let in knows of {incarnation}: {kinds.get(incarnation)}"
        for incarnation, reason in self.notices.items():
            if incarnation in self.came_back:
                continue
            if incarnation in self.slept_on and reason == "shutdown":
                continue
            if ends[incarnation]["reason"] not in (reason, LOST):
                return f"{incarnation} ended ({reason}), and {ends[incarnation]} was told"
        for incarnation, end in ends.items():
            if end["reason"] == LOST:
                if (
                    incarnation not in self.may_be_lost
                    and EventKind.JOINED_FIRST in kinds[incarnation]
                ):
                    return f"the end of {incarnation} was lost: {kinds[incarnation]}"
            elif end["lateness"] is not None and end["lateness"] < -1e-5:
                return f"{incarnation} ended before it was due: {end}"
        return None
