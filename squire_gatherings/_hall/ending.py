"""Ending: what a program asks of a gathering's end: other rules, a hold, more time, a warning.

Everything here is synchronous, and holds when the call returns. None of it is activity.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio
from attrs import field, frozen

from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.room import Room
from squire_gatherings._values.end_rules import EndRules, Explanation
from squire_gatherings._values.errors import BadSetting, GatheringDispersed, HallClosed
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.settings import number


@frozen(eq=False)
class Ending:
    """The ends of one hall's gatherings."""

    _registry: Registry = field(repr=False)

    def give(self, room: Room, rules: EndRules) -> None:
        """Give a gathering the rules that it is to have instead of the hall's. As `Hall.open`."""
        room.is_wanted = True
        room.given = attrs.evolve(room.given, base=rules)
        room.apply_rules("open", None)

    def change(
        self, gathering_id: str, changes: dict[str, Any], what: str, by: str | None
    ) -> Explanation:
        """Change some rules. As `Hall.change_rules`."""
        names = {one.name for one in attrs.fields(EndRules) if one.init}
        for name in changes:
            if name not in names:
                raise BadSetting(f"there is no rule {name!r:.80}")
        with self._room(gathering_id) as room:
            # Raises for what can't be, before anything has changed.
            attrs.evolve(room.given.base, **changes)
            room.is_wanted = True
            room.given = attrs.evolve(room.given, changes={**room.given.changes, **changes})
            room.apply_rules(what, by)
            return room.explain()

    def extend(self, gathering_id: str, seconds: float, by: str | None) -> Explanation:
        """Put the end off. As `Hall.extend`."""
        if not number(seconds) or not 0 < seconds < math.inf:
            raise BadSetting(f"seconds must be a number above 0, not {seconds!r:.80}")
        with self._room(gathering_id) as room:
            room.is_wanted = True
            room.extend(seconds, by)
            return room.explain()

    def warn(self, gathering_id: str) -> Explanation:
        """Warn the clients now. As `Hall.warn`."""
        with self._room(gathering_id) as room:
            room.look()
            told = room.deadline.warn_anyway(trio.current_time())
            if told is not None:
                room.tell_ending(told.rule, told.at)
                room.rearm()
            return room.explain()

    def explain(self, gathering_id: str) -> Explanation:
        """Say why it is alive. As `Hall.explain`."""
        with self._room(gathering_id) as room:
            return room.explain()

    @contextmanager
    def _room(self, gathering_id: str) -> Iterator[Room]:
        """Let the room of an open gathering be changed; one that sleeps sleeps on."""
        check_gathering_id(gathering_id)
        if self._registry.closed:
            raise HallClosed("the hall is closed")
        with self._registry.changing(gathering_id) as room:
            if room is None:
                raise GatheringDispersed(f"gathering {gathering_id} isn't open")
            yield room
