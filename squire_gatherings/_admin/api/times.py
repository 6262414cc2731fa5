"""Times: from the hall's clock, which only it knows, to the time of day."""

import math

import trio
from attrs import frozen

from squire_gatherings._hall.observing import Observer


@frozen
class Times:
    """What both clocks show at one moment."""

    now: float
    wall: float

    @classmethod
    def of(cls, observer: Observer) -> "Times":
        """Look at both clocks."""
        return cls(trio.current_time(), round(observer.wall(), 3))

    def at(self, instant: float) -> float:
        """Return when an instant of the hall's clock is, by the time of day."""
        return round(self.wall + instant - self.now, 3)

    def maybe_at(self, instant: float) -> float | None:
        """Return the same, or None for what never comes."""
        return None if instant == math.inf else self.at(instant)

    def left(self, instant: float) -> float | None:
        """Return how many seconds are left until then; None for what never comes."""
        return None if instant == math.inf else round(instant - self.now, 3)
