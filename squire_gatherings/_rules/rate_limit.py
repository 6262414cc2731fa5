"""Rate limits: token buckets (ITU-T I.371, as a leaky bucket meter), alone and shared.

A shared limit is kept under a name (a user, an address) for as long as anybody uses it, and after
that until its bucket is full again. A client that leaves and comes back is as limited as before.
"""

from collections.abc import Hashable

from attrs import define, field


@define
class RateLimit:
    """At most `rate` messages a second on average, and `burst` at once."""

    rate: float
    burst: int
    refused: int = 0
    """How many were refused since the last that was allowed."""
    _tokens: float = field(init=False)
    _counted_at: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.burst)

    def allow(self, now: float) -> bool:
        """Return whether a message that came at `now` (seconds, never going back) is within it."""
        self._refill(now)
        if self._tokens < 1:
            self.refused += 1
            return False
        self.refused = 0
        self._tokens -= 1
        return True

    def charge(self, cost: float, now: float) -> float:
        """Count what was done already; return how many seconds later it's within the limit."""
        self._refill(now)
        self._tokens -= cost
        return max(0.0, -self._tokens / self.rate)

    def refund(self) -> None:
        """Count one message less."""
        self._tokens = min(float(self.burst), self._tokens + 1)

    def is_full(self, now: float) -> bool:
        """Return whether the bucket is full: the limit is as good as a new one."""
        self._refill(now)
        return self._tokens >= self.burst

    def _refill(self, now: float) -> None:
        if self._counted_at is not None:
            refill = (now - self._counted_at) * self.rate
            self._tokens = min(float(self.burst), self._tokens + refill)
        self._counted_at = now


@define
class _Shared:
    limit: RateLimit
    users: int = 0


@define(eq=False)
class SharedLimits:
    """Limits by name. Unused ones are forgotten as others come, once their buckets are full."""

    rate: float
    burst: int
    _used: dict[Hashable, _Shared] = field(factory=dict)
    _idle: dict[Hashable, _Shared] = field(factory=dict)
    """Those that nobody uses; the one that was left first comes first."""

    def __len__(self) -> int:
        return len(self._used) + len(self._idle)

    def enter(self, name: Hashable, now: float) -> RateLimit:
        """Return the limit of this name for one more user, which must `leave` it."""
        self._forget_some(now)
        shared = self._used.get(name)
        if shared is None:
            shared = self._idle.pop(name, None) or _Shared(RateLimit(self.rate, self.burst))
            self._used[name] = shared
        shared.users += 1
        return shared.limit

    def leave(self, name: Hashable, now: float) -> None:
        """Note that one user less uses the limit of this name."""
        shared = self._used[name]
        shared.users -= 1
        if not shared.users:
            del self._used[name]
            if not shared.limit.is_full(now):
                self._idle[name] = shared

    def _forget_some(self, now: float) -> None:
        # Two for each that may be added, so that there are never many more than needed.
        for _ in range(min(2, len(self._idle))):
            name = next(iter(self._idle))
            shared = self._idle.pop(name)
            if not shared.limit.is_full(now):
                self._idle[name] = shared
