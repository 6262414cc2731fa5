"""The delivery window of one onlooker: what was sent, acknowledged, is due again, is hopeless.

Go-back-N with cumulative acknowledgement and exponential backoff, as in RFC 1122
section 4.2.3.1 and RFC 6298 rule 5.5 (back off by doubling), over a transport that is
reliable already: a retry is for the client that took a message in and lost it.
"""

import math
from enum import Enum, auto

from attrs import define, field


class Verdict(Enum):
    """What is to be done for an onlooker at some instant."""

    NOTHING = auto()
    RESEND = auto()
    GIVE_UP = auto()


@define
class DeliveryWindow:
    """What one onlooker has been sent and has acknowledged, by seq.

    Times and durations are seconds. What is sent while a retry is scheduled already
    joins the retry after that one, so that an onlooker has one due time, not one a message.
    """

    retry_interval: float
    retry_limit: float
    acked: int
    """The onlooker has everything up to this seq."""

    reached: int = field(init=False)
    """Everything up to this seq was handed to the connection, or needn't be."""

    owed: int = field(init=False)
    """The last seq that was forwarded: the one whose acknowledgement settles everything."""

    resend_to: int = field(init=False)
    """A retry sends again what lies after `acked` up to this seq."""

    resend_at: float = field(init=False, default=math.inf)
    give_up_at: float = field(init=False, default=math.inf)
    _interval: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin(self.acked)

    def begin(self, seq: int) -> None:
        """The onlooker starts with everything up to `seq`."""
        self.acked = self.reached = self.owed = self.resend_to = seq
        self._interval = self.retry_interval

    @property
    def unacked(self) -> int:
        """How many seqs wait for an acknowledgement."""
        return max(0, self.owed - self.acked)

    @property
    def due_at(self) -> float:
        """When to ask `verdict` next; infinity while nothing is outstanding."""
        return min(self.resend_at, self.give_up_at)

    def forwarded(self, seq: int, now: float) -> None:
        """Everything up to `seq` has been handed to the connection."""
        self.reached = self.owed = seq
        if self.give_up_at == math.inf:
            self._begin(now)

    def passed(self, seq: int) -> None:
        """The onlooker has everything from `reached` + 1 to `seq` from an answer."""
        self.reached = seq

    def acknowledged(self, seq: int, now: float) -> None:
        """The onlooker says that it has everything up to `seq`."""
        if seq <= self.acked:
            return
        self.acked = seq
        if seq >= self.owed:
            self.resend_at = self.give_up_at = math.inf
        else:
            self._begin(now)

    def verdict(self, now: float) -> Verdict:
        """Say what is to be done now; after `RESEND` the caller calls `rescheduled`."""
        if now >= self.give_up_at:
            return Verdict.GIVE_UP
        if now >= self.resend_at:
            return Verdict.RESEND
        return Verdict.NOTHING

    def rescheduled(self, now: float) -> None:
        """A retry was made (or left out, since its first copy is still in our queue)."""
        self._interval *= 2
        self.resend_at = now + self._interval
        self.resend_to = self.owed

    def _begin(self, now: float) -> None:
        self._interval = self.retry_interval
        self.resend_at = now + self.retry_interval
        self.give_up_at = now + self.retry_limit
        self.resend_to = self.owed
