"""The delivery window of one client: what was sent, acknowledged, is due again, is hopeless.

Go-back-N with cumulative acknowledgement and exponential backoff, as in RFC 1122
section 4.2.3.1 and RFC 6298 rule 5.5 (back off by doubling), over a transport that is
reliable already: a retry is for the client that took a message in and lost it.

The clock runs exactly while `owed` > `acked`: whoever has acknowledged what it was forwarded is
never given up, whatever it acknowledged besides, and its own ops are owed to nobody.
"""

import math
from collections.abc import Iterator
from enum import Enum, auto

from attrs import define, field

OWN_RANGES = 1024
"""How many ranges of own ops are remembered of a client that acknowledges too little."""


class Verdict(Enum):
    """What is to be done for a client at some instant."""

    NOTHING = auto()
    RESEND = auto()
    GIVE_UP = auto()


@define
class DeliveryWindow:
    """What one client has been sent and has acknowledged, by seq.

    Times and durations are seconds. What is sent while a retry is scheduled already
    joins the retry after that one, so that a client has one due time, not one a message.
    """

    retry_interval: float
    retry_limit: float
    acked: int
    """The client has everything up to this seq. It may say so of what wasn't forwarded yet."""

    reached: int = field(init=False)
    """Everything up to this seq was handed to the connection, or needn't be."""

    owed: int = field(init=False)
    """The last seq that was forwarded: the one whose acknowledgement settles everything."""

    resend_to: int = field(init=False)
    """A retry sends again what lies after `acked` up to this seq."""

    due_at: float = field(init=False, default=math.inf)
    """When to ask `verdict` next; infinity while nothing is outstanding."""

    resend_at: float = field(init=False, default=math.inf)
    give_up_at: float = field(init=False, default=math.inf)
    ever_acked: bool = field(init=False, default=False)
    """Whether it ever acknowledged something new."""

    _interval: float = field(init=False)
    _own: list[tuple[int, int]] | None = field(init=False, default=None)
    """Ranges of own ops after `acked`: first and last seq, in order."""

    _target: int | None = field(init=False, default=None)
    """How many bytes must have gone out before the client can acknowledge; None: not looked."""

    _moved: int = field(init=False, default=0)
    """How many bytes had gone out at the last look."""

    def __attrs_post_init__(self) -> None:
        self.begin(self.acked)

    def begin(self, seq: int) -> None:
        """The client starts with everything up to `seq`."""
        self.acked = self.reached = self.owed = self.resend_to = seq
        self._interval = self.retry_interval

    @property
    def unacked(self) -> int:
        """How many seqs wait for an acknowledgement."""
        return max(0, self.owed - self.acked)

    @property
    def is_first_retry(self) -> bool:
        """Whether the retry that is due is the first since anything was acknowledged."""
        return self._interval == self.retry_interval

    # What happens.

    def forwarded(self, seq: int, now: float) -> None:
        """What others did up to `seq` has been handed to the connection."""
        self.reached = seq
        if self.owed > self.acked:
            self.owed = seq
        elif seq > self.acked:
            self.owed = seq
            self._begin(now)

    def passed(self, seq: int) -> None:
        """The client's own ops, from `reached` + 1 to `seq`, are told it by an answer."""
        if self.owed <= self.acked:
            self.reached = seq
            if seq > self.acked:
                self.acked = seq
            return
        first, self.reached = self.reached + 1, seq
        if self._own is None:
            self._own = [(first, seq)]
        elif self._own[-1][1] == first - 1 or len(self._own) >= OWN_RANGES:
            # Past the limit, what others did in between isn't sent again either.
            self._own[-1] = (self._own[-1][0], seq)
        else:
            self._own.append((first, seq))

    def acknowledged(self, seq: int, now: float) -> None:
        """The client says that it has everything up to `seq`."""
        if seq <= self.acked:
            return
        self.acked = seq
        self.ever_acked = True
        if self.owed > seq:
            if self._own is not None:
                self._forget_own(self._own, seq)
            self._begin(now)
            return
        # All that lies between is its own.
        self.acked = max(seq, self.reached)
        self._own = self._target = None
        self.due_at = self.resend_at = self.give_up_at = math.inf

    # What is to be done.

    def verdict(self, now: float) -> Verdict:
        """Say what is to be done now; after `RESEND` the caller calls `rescheduled`."""
        if now >= self.give_up_at:
            return Verdict.GIVE_UP
        if now >= self.resend_at:
            return Verdict.RESEND
        return Verdict.NOTHING

    def runs(self, after: int, up_to: int) -> Iterator[tuple[int, int]]:
        """Yield first and last seq of each run of others' ops from `after` + 1 to `up_to`."""
        first = after + 1
        for own_first, own_last in self._own or ():
            if own_first > up_to:
                break
            if own_first > first:
                yield first, own_first - 1
            first = max(first, own_last + 1)
        if first <= up_to:
            yield first, up_to

    def rescheduled(self, now: float) -> None:
        """A retry was made (or left out, since its first copy is still in our queue)."""
        self._interval *= 2
        self.resend_at = now + self._interval
        self.resend_to = self.owed
        self.due_at = min(self.resend_at, self.give_up_at)

    # What excuses a client.

    def looked(self, progress: int, in_transit: int, now: float) -> None:
        """Tell that `progress` bytes have gone out, and that `in_transit` are still to go.

        While bytes move without which the client can't acknowledge anything, its limit begins
        anew. Bytes that were sent later prove nothing: a client that reads and never
        acknowledges makes each retry move.
        """
        if self._target is None:
            self._target = progress + in_transit
            if in_transit and now >= self.give_up_at:
                # Nobody looked before, so nobody knows.
                self._give_up_from(now)
        elif self._moved < min(progress, self._target):
            self._give_up_from(now)
        self._moved = progress

    def excuse(self, since: float, until: float) -> None:
        """Don't hold the time from `since` to `until` against it: the server didn't listen.

        After it, the client has at least one retry interval.
        """
        if self.give_up_at != math.inf:
            lost = until - max(since, self.give_up_at - self.retry_limit)
            if lost > 0:
                soonest = until + min(self.retry_interval, self.retry_limit)
                self.give_up_at = max(self.give_up_at + lost, soonest)
                self.due_at = min(self.resend_at, self.give_up_at)

    def put_off(self, until: float) -> None:
        """Ask again at `until`: what it said isn't known yet."""
        self.resend_at = max(self.resend_at, until)
        self.give_up_at = max(self.give_up_at, until)
        self.due_at = min(self.resend_at, self.give_up_at)

    def _give_up_from(self, now: float) -> None:
        self.give_up_at = now + self.retry_limit
        self.due_at = min(self.resend_at, self.give_up_at)

    def _begin(self, now: float) -> None:
        interval = self._interval = self.retry_interval
        self.due_at = self.resend_at = now + interval
        self.give_up_at = now + self.retry_limit
        if self.give_up_at < self.due_at:
            self.due_at = self.give_up_at
        self.resend_to = self.owed
        self._target = None

    def _forget_own(self, own: list[tuple[int, int]], seq: int) -> None:
        gone = 0
        while gone < len(own) and own[gone][1] <= seq:
            gone += 1
        del own[:gone]
        if not own:
            self._own = None
