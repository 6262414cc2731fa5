"""Poison: remembers syncs that crashed their gathering, so that none of them does it twice."""

from collections import deque
from collections.abc import Iterable

from attrs import define, field

from squire_gatherings._rules.sync_ids import SyncKey

POISON_LIMIT = 1000
"""How many such syncs a hall remembers; the oldest are forgotten first."""

_NONE: frozenset[SyncKey] = frozenset()
"""What almost all gatherings are told, which keep it. Python makes a new empty set each time."""


@define(eq=False)
class Poison:
    """The syncs over which a behaviour crashed, by their gathering. Bounded."""

    _by_gathering: dict[str, set[SyncKey]] = field(factory=dict)
    _order: deque[tuple[str, SyncKey]] = field(factory=deque)

    def remember(self, gathering: str, keys: Iterable[SyncKey]) -> None:
        """Remember the syncs that were being processed when `gathering` crashed."""
        known = self._by_gathering.setdefault(gathering, set())
        for key in keys:
            if key not in known:
                known.add(key)
                self._order.append((gathering, key))
        if not known:
            del self._by_gathering[gathering]
        while len(self._order) > POISON_LIMIT:
            self._forget(*self._order.popleft())

    def of(self, gathering: str) -> frozenset[SyncKey]:
        """Return the syncs that the next incarnation of `gathering` refuses."""
        known = self._by_gathering.get(gathering)
        return _NONE if known is None else frozenset(known)

    def state(self) -> list[tuple[str, str, str]]:
        """Return all of it, for another process: gathering, scope and id, the oldest first."""
        return [(gathering, *key) for gathering, key in self._order]

    def _forget(self, gathering: str, key: SyncKey) -> None:
        known = self._by_gathering[gathering]
        known.discard(key)
        if not known:
            del self._by_gathering[gathering]
