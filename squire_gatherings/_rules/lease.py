"""The lease: how long a node may go on without having heard that it is still one.

A node sends a *beat* to what all nodes share, which notes the instant by its own clock. The others
may declare a node dead once its last beat is older than `duration` there. The node counts from the
moment before it has sent the beat, by its own monotonic clock, so its lease ends sooner than that
(Gray and Cheriton, 1989, "Leases", section 5: only the rates of clocks matter), by `margin` more
for a difference of rates.
"""

import math

from attrs import define


@define
class Lease:
    """When one node's lease ends. Told the time, in seconds of the node's monotonic clock."""

    duration: float
    margin: float
    until: float = -math.inf
    """From this instant on nothing is shown, and nothing acknowledged."""
    is_lost: bool = False
    """Whether the node was declared dead: no beat makes it valid again."""

    def beaten(self, sent_at: float) -> None:
        """Note that a beat was taken which was sent at this instant, or later."""
        if not self.is_lost:
            self.until = max(self.until, sent_at + self.duration - self.margin)

    def is_valid(self, now: float) -> bool:
        """Return whether what we have is still ours."""
        return now < self.until

    def lost(self) -> None:
        """Note that the node was declared dead: nothing is its own any more, for good."""
        self.until = -math.inf
        self.is_lost = True
