"""The wall clock of a test: a time of day that goes with Trio's clock, and may be set."""

import trio
from attrs import define

DAY_ONE = 1_800_000_000.0
"""The time of day when a test begins: seconds since 1970 (UTC), in January 2027."""


@define
class WallClock:
    """Tells the time of day, as `open_hall(wall_clock=...)` wants it: call it within `trio.run`."""

    at_zero: float = DAY_ONE
    """The time of day when Trio's clock is at 0, as a `MockClock` is at first."""

    def __call__(self) -> float:
        """Return the time of day: seconds since 1970 (UTC)."""
        return self.at_zero + trio.current_time()

    def step(self, seconds: float) -> None:
        """Set it forward, or back, as people and time servers do. No other time passes."""
        self.at_zero += seconds
