"""The loop's delay: how much later a task is woken than it asked for, as others hold the thread."""

from collections import deque

import trio
from attrs import define, field

from squire_gatherings._rules.histogram import Histogram

INTERVAL = 0.1
"""Every how many seconds it is measured."""

RECENT = 50
"""How many of the last measurements the `worst` one is taken of."""


@define(eq=False)
class LoopDelay:
    """Measures it."""

    delays: Histogram = field(factory=Histogram)
    """All measurements."""
    _recent: deque[float] = field(factory=lambda: deque(maxlen=RECENT))
    _due: float = 0.0

    def worst(self, now: float) -> float:
        """Return the longest delay of the last seconds, also one that isn't over."""
        return max(0.0, now - self._due if self._due else 0.0, *self._recent)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            self._due = trio.current_time() + INTERVAL
            await trio.sleep_until(self._due)
            delay = trio.current_time() - self._due
            self.delays.add(delay)
            self._recent.append(delay)
