"""The server's clock, as a client knows it: its own, unless what the server said contradicts it.

The server tells when ops were logged. What arrives was logged before, so the server's clock shows
at least that by now. What we have submitted was logged after that, so it showed at most that then.
"""

import math
from collections.abc import Callable

from attrs import define


@define(eq=False)
class ServerClock:
    """What time of day it is to the server. Computed from a clock that nobody sets."""

    wall_clock: Callable[[], float]
    """Our time of day, in seconds since 1970."""
    steady_clock: Callable[[], float]
    """Seconds since some moment."""
    _least: float = -math.inf
    """The server's time of day less our steady clock's is at least this, in seconds,"""
    _most: float = math.inf
    """and at most this."""

    def now(self) -> int:
        """Return the server's time of day, in milliseconds since 1970, as far as it's known."""
        steady = self.steady_clock()
        ahead = min(max(self.wall_clock() - steady, self._least), self._most)
        # What was a whole millisecond must not become one less by the sums.
        return math.floor(round((steady + ahead) * 1000, 3))

    def heard(self, time: int) -> None:
        """Note that something has come that was logged then."""
        self._least = max(self._least, time / 1000 - self.steady_clock())
        if self._least > self._most:
            # The server's clock was set since.
            self._most = math.inf

    def answered(self, time: int, submitted_at: float) -> None:
        """Note that what we submitted then, by the steady clock, was logged at that time."""
        self.heard(time)
        # It is told in whole milliseconds, rounded down.
        self._most = min(self._most, (time + 1) / 1000 - submitted_at)
        if self._most < self._least:
            self._least = -math.inf
