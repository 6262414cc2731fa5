"""Endings: what a client makes of the end of its gathering, before and after."""

import trio
from attrs import frozen

from squire_gatherings._values.endings import DispersalReason

FIXED = (DispersalReason.MAX_AGE, DispersalReason.ENDS_AT)
"""Rules whose end no message moves."""

COMES_BACK = (
    DispersalReason.CRASHED,
    DispersalReason.SHUTDOWN,
    DispersalReason.MOVED,
    DispersalReason.EVICTED,
)
"""After these ends a client comes back by itself. After any other, also one of a later version,
nothing is wrong: the gathering is left alone until there's something to do."""


@frozen
class EndingSoon:
    """The server's warning that the gathering ends, unless somebody uses it before."""

    rule: str
    """By which rule: one of `DispersalReason`, or of a later version. The end by `max_age` or
    `ends_at` isn't put off by using it."""
    at: float
    """When, in seconds of Trio's clock."""

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return max(0.0, self.at - trio.current_time())
