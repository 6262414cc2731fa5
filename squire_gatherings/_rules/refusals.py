"""Refusals: how often each limit was enforced, and when that is worth a line in the log."""

from collections import Counter
from enum import StrEnum

from attrs import define, field

PAUSE = 60.0
"""How many seconds pass until the same limit is logged again."""


class Limit(StrEnum):
    """What may be used up. The values are what operators read in logs and numbers."""

    HANDSHAKES = "handshakes"
    HANDSHAKES_PER_ADDRESS = "handshakes_per_address"
    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections_per_address"
    CONNECTIONS_PER_USER = "connections_per_user"
    CONNECTIONS_PER_GATHERING = "connections_per_gathering"
    GATHERINGS = "gatherings"
    GATHERINGS_PER_USER = "gatherings_per_user"
    EVENTS = "events"
    MESSAGES = "messages"
    BYTES = "bytes"
    OPS = "ops"
    NOISE = "noise"
    TOO_BIG = "too_big"
    LOG_OPS = "log_ops"
    LOG_BYTES = "log_bytes"
    BACKLOG = "backlog"
    OUTBOUND = "outbound"
    MEMORY = "memory"
    PROXY = "proxy"


@define(eq=False)
class Refusals:
    """Counts them, for one hall and all ways into it."""

    counts: Counter[Limit] = field(factory=Counter)
    """How often each limit was enforced so far."""
    _logged: dict[Limit, tuple[float, int]] = field(factory=dict)
    """When each was logged last, and what its count was then."""

    def count(self, limit: Limit, now: float) -> int:
        """Count one.

        Args:
            limit: Which limit was enforced.
            now: The time in seconds, which never goes back.

        Returns:
            How many there were since the last line in the log, this one included; 0 where it's
            too early for another line.
        """
        self.counts[limit] += 1
        logged_at, before = self._logged.get(limit, (-PAUSE, 0))
        if now - logged_at < PAUSE and limit in self._logged:
            return 0
        self._logged[limit] = now, self.counts[limit]
        return self.counts[limit] - before
