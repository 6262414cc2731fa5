"""The clock offset: how far another machine's clock is ahead of ours, from its answers.

An answer tells the other clock's time at some moment between our question and its arrival. So each
bounds the offset from both sides, and all of them together bound it closely, but for what clocks
drift meanwhile (Cristian, 1989; the intersection as by Marzullo, 1984).
"""

import math

from attrs import define

DRIFT = 200e-6
"""So many seconds two clocks may drift apart in a second."""


@define(eq=False)
class ClockOffset:
    """How many seconds another clock is ahead. Told our own, in seconds."""

    _least: float = -math.inf
    _most: float = math.inf
    _at: float = 0.0

    def heard(self, asked_at: float, heard_at: float, time: float) -> None:
        """Note that the other clock said this time, between two moments of ours.

        `asked_at` is minus infinity where only the later one is known.
        """
        drift = max(0.0, heard_at - self._at) * DRIFT
        least = max(self._least - drift, time - heard_at)
        most = min(self._most + drift, time - asked_at)
        if least > most:
            # It was set.
            least, most = time - heard_at, time - asked_at
        self._least, self._most, self._at = least, most, heard_at

    def nearest(self, guess: float) -> float:
        """Return the offset that is nearest to a guess, of those that may be."""
        return min(max(guess, self._least), self._most)

    @property
    def seconds(self) -> float:
        """The offset; 0 before anything was heard."""
        return 0.0 if self._least == -math.inf else (self._least + self._most) / 2
