"""Clocks: one for Trio that goes on while the machine sleeps, and the time of day.

Trio's own clock stands still then: a gathering that is to end after 24 hours lives on for as long
as the laptop or the virtual machine was asleep. People count the hours as they pass.
"""

import math
import random
import time
from collections.abc import Callable

import trio

LONGEST_SLEEP = 1.0
"""How many seconds Trio sleeps at a time while it waits for a deadline.

The system's timer stands still, too, while the machine sleeps. A deadline that passed meanwhile is
seen so many seconds after the machine woke up, at most. Waking up once a second costs 0.01 % of a
CPU.
"""


def boot_time() -> float:
    """Return seconds that also pass while the machine sleeps, where the system has such a clock."""
    number = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if number is None else time.clock_gettime(number)


class BootTimeClock(trio.abc.Clock):
    """A clock for `trio.run(main, clock=...)`; the command `serve` uses it.

    Deadlines that pass while the machine sleeps are seen within a second after it woke up, all of
    them at once. `now` returns seconds and never goes back. On systems without `CLOCK_BOOTTIME`
    (other than Linux) this is like Trio's own clock.
    """

    def __init__(self, now: Callable[[], float] = boot_time) -> None:
        self._now = now
        # As Trio's own clock does, so that nobody takes its times for those of another clock.
        self._offset = random.uniform(10_000, 1_000_000)

    def start_clock(self) -> None:
        """Do nothing: it always runs."""

    def current_time(self) -> float:
        """Return the time in seconds."""
        return self._offset + self._now()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return how many seconds to sleep before looking again."""
        if deadline == math.inf:
            return math.inf
        return min(deadline - self.current_time(), LONGEST_SLEEP)
