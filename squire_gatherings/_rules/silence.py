"""Silence: how long other nodes have said nothing, by our own monotonic clock.

No clock but one's own is trusted: that of the database may be set forward, which must not make
living nodes dead. A node counts its beats where all see the count. Whoever has seen the same count
for a whole lease knows that the node's own lease, which began before that beat was taken, is over.
"""

from collections.abc import Hashable, Iterable

from attrs import define, field


@define(eq=False)
class Silences:
    """What is known of the beats of others. Told the time, in seconds."""

    _seen: dict[Hashable, tuple[int, float]] = field(factory=dict)
    """By node: how many beats it had, and since when we know of that number."""

    def saw(self, node: Hashable, beats: int, now: float) -> None:
        """Note that a node has so many beats now."""
        known = self._seen.get(node)
        if known is None or known[0] != beats:
            self._seen[node] = beats, now

    def seconds(self, node: Hashable, beats: int, now: float) -> float:
        """Return how long we have known that a node has no more beats than these."""
        known = self._seen.get(node)
        return 0.0 if known is None or known[0] != beats else now - known[1]

    def keep(self, nodes: Iterable[Hashable]) -> None:
        """Forget all others."""
        kept = set(nodes)
        self._seen = {node: seen for node, seen in self._seen.items() if node in kept}
