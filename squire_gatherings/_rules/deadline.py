"""The idle deadline: plain arithmetic on the moments at which a gathering was used."""

import math

from attrs import define


@define(weakref_slot=False)
class IdleDeadline:
    """When a gathering disperses unless something happens before.

    Times are seconds on one monotonic clock, durations are in seconds. The deadline is the moment
    of the last processed message + `idle_timeout`. While there is no connection, it is the moment
    at which the last one closed + `empty_timeout`, if there is one and that is sooner. If there was
    no connection yet, the moment of the opening counts.
    """

    idle_timeout: float
    empty_timeout: float | None
    last_processed_at: float
    emptied_at: float | None = None

    def processed(self, now: float) -> None:
        """Note that a message that counts as activity was processed."""
        self.last_processed_at = now

    def occupied(self) -> None:
        """Note that a connection is there."""
        self.emptied_at = None

    def emptied(self, now: float) -> None:
        """Note that the last connection has closed."""
        self.emptied_at = now

    @property
    def at(self) -> float:
        """The instant of dispersal, as things stand; infinity for never."""
        return min(self.last_processed_at + self.idle_timeout, self._empty_at)

    @property
    def is_empty_case(self) -> bool:
        """Whether it's the emptiness, not the idleness, that ends the gathering."""
        return self._empty_at < self.last_processed_at + self.idle_timeout

    @property
    def _empty_at(self) -> float:
        if self.emptied_at is None or self.empty_timeout is None:
            return math.inf
        return self.emptied_at + self.empty_timeout
