"""Places: how many there are of something, in all and under each name (a user, an address)."""

from collections.abc import Hashable

from attrs import define, field


@define(eq=False)
class Places:
    """Counts places that are taken. What has no name (None) counts in all only."""

    total: int = 0
    _named: dict[Hashable, int] = field(factory=dict)

    def of(self, name: Hashable) -> int:
        """Return how many are taken under this name."""
        return self._named.get(name, 0)

    def take(self, name: Hashable = None) -> None:
        """Take a place under this name. Each that is taken must be left once."""
        self.total += 1
        if name is not None:
            self._named[name] = self._named.get(name, 0) + 1

    def leave(self, name: Hashable = None) -> None:
        """Leave a place that was taken under this name."""
        self.total -= 1
        if name is not None:
            left = self._named[name] - 1
            if left:
                self._named[name] = left
            else:
                del self._named[name]


def is_full(taken: int, most: int | None) -> bool:
    """Whether all of `most` places are taken (None: no limit)."""
    return most is not None and taken >= most
