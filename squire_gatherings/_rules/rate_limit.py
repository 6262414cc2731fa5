"""Rate limits: token buckets (ITU-T I.371, as a leaky bucket meter), alone and shared.

A shared limit is kept under a name (a user, an address) for as long as anybody uses it, and after
that until its bucket is full again. A client that leaves and comes back is as limited as before.
"""

from collections.abc import Hashable
from enum import Enum

from attrs import define, field


@define
class RateLimit:
    """At most `rate` messages a second on average, and `burst` at once; or bytes, or ops."""

    rate: float
    burst: int
    refused: int = 0
    """How many were refused since the last that was allowed."""
    _tokens: float = field(init=False)
    _counted_at: float | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.burst)

    def allow(self, now: float, cost: float = 1) -> bool:
        """Return whether a message that came at `now` (seconds, never going back) is within it.

        One that costs more than `burst` is, where nothing was used up; others wait longer then.
        """
        self._refill(now)
        if self._tokens < min(cost, self.burst):
            self.refused += 1
            return False
        self.refused = 0
        self._tokens -= cost
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


class Spent(Enum):
    """The part of an allowance that is used up."""

    MESSAGES = "messages"
    BYTES = "bytes"
    OPS = "ops"


@define(eq=False)
class Allowance:
    """What a connection may say: messages, bytes and ops a second. None: any number."""

    messages: RateLimit | None = None
    bytes: RateLimit | None = None
    ops: RateLimit | None = None

    def spent(self, size: int, now: float) -> Spent | None:
        """Count a message of so many bytes; return what is used up, so that it isn't taken."""
        if self.messages is not None and not self.messages.allow(now):
            return Spent.MESSAGES
        if self.bytes is not None and not self.bytes.allow(now, size):
            return Spent.BYTES
        return None

    def spent_on_ops(self, count: int, now: float) -> Spent | None:
        """Count the ops of a message that was counted itself."""
        if self.ops is not None and not self.ops.allow(now, count):
            return Spent.OPS
        return None

    @property
    def refused(self) -> int:
        """How many in a row were refused, for any reason."""
        parts = (self.messages, self.bytes, self.ops)
        return max((one.refused for one in parts if one is not None), default=0)


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
    """The limits that nobody uses; the one that was left first comes first."""

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
