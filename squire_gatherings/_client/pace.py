"""Pace: how fast requests go out. As fast as they can, until the server says it's too fast."""

import math

from attrs import define

FIRST = 1 / 8
SHORTEST = 1 / 1024


@define
class Pace:
    """The interval between two requests: doubled by a refusal, a tenth shorter by an answer."""

    longest: float
    """The longest interval, in seconds."""
    calm: float
    """How many seconds after a refusal more of them mean the same: they were under way already."""
    interval: float = 0.0
    _next_at: float = -math.inf
    _calm_until: float = -math.inf

    def slower(self, now: float) -> None:
        """The server says that it's too much."""
        if now >= self._calm_until:
            self.interval = min(max(2 * self.interval, FIRST), self.longest)
            self._calm_until = now + max(self.calm, 2 * self.interval)
            self._next_at = max(self._next_at, now + self.interval)

    def answered(self) -> None:
        """The server has taken a request."""
        if self.interval:
            self.interval *= 0.9
            if self.interval < SHORTEST:
                self.interval = 0.0

    def sent(self, now: float) -> None:
        """A request goes out."""
        if self.interval:
            self._next_at = now + self.interval

    @property
    def next_at(self) -> float:
        """When the next request may go out."""
        return self._next_at
