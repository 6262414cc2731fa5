"""The rate limit of one connection: a token bucket (ITU-T I.371, as a leaky bucket meter)."""

from attrs import define, field


@define
class RateLimit:
    """At most `rate` messages a second on average, and `burst` at once."""

    rate: float
    burst: int
    _tokens: float = field(init=False)
    _counted_at: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.burst)

    def allow(self, now: float) -> bool:
        """Whether a message that came at `now` (seconds, never going back) is within it."""
        if self._counted_at is not None:
            refill = (now - self._counted_at) * self.rate
            self._tokens = min(float(self.burst), self._tokens + refill)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
