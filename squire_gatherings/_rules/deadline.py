"""The idle deadline: plain arithmetic on the moments at which a gathering was used."""

import math

from attrs import define


@define
class IdleDeadline:
    """When a gathering disperses unless something happens before.

    Times are seconds on one monotonic clock, durations are seconds. The deadline is the
    last processed message + `idle_timeout`; while no connection is there and there is an
    `empty_timeout`, it is the moment the last one closed (or, before there was any, the moment
    of the opening) + `empty_timeout`, if sooner.
    """

    idle_timeout: float
    empty_timeout: float | None
    last_processed_at: float
    emptied_at: float | None = None

    def processed(self, now: float) -> None:
        """A message that counts was processed."""
        self.last_processed_at = now

    def occupied(self) -> None:
        """A connection is there."""
        self.emptied_at = None

    def emptied(self, now: float) -> None:
        """The last connection closed."""
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
