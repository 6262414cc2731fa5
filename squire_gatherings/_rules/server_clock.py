"""The server's clock, as a client knows it: its own, unless what the server said contradicts it.

The server tells when ops were logged. What arrives was logged before, so the server's clock shows
at least that by now. What we have submitted was logged after that, so it showed at most that then.
"""

import math
from collections.abc import Callable

from attrs import define, field

from squire_gatherings._rules.clock_offset import ClockOffset

MILLISECOND = 0.001
"""Times are told in whole milliseconds, rounded down."""


@define(eq=False)
class ServerClock:
    """What time of day it is to the server. Computed from a clock that nobody sets."""

    wall_clock: Callable[[], float]
    """Our time of day, in seconds since 1970."""
    steady_clock: Callable[[], float]
    """Seconds since some moment."""
    _offset: ClockOffset = field(factory=ClockOffset)
    """Of the server's time of day from the steady clock."""

    def now(self) -> int:
        """Return the server's time of day, in milliseconds since 1970, as far as it's known."""
        steady = self.steady_clock()
        ahead = self._offset.nearest(self.wall_clock() - steady)
        # What was a whole millisecond must not become one less by the sums.
        return math.floor(round((steady + ahead) * 1000, 3))

    def heard(self, time: int) -> None:
        """Note that something has come that was logged then."""
        self._offset.heard(-math.inf, self.steady_clock(), time / 1000)

    def answered(self, time: int, submitted_at: float) -> None:
        """Note that what we submitted then, by the steady clock, was logged at that time."""
        self._offset.heard(submitted_at - MILLISECOND, self.steady_clock(), time / 1000)
