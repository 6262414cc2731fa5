"""The delivery window of one client: what was sent and acknowledged, and what is due when.

It is go-back-N with cumulative acknowledgement and exponential backoff, as in RFC 1122
section 4.2.3.1 and RFC 6298 rule 5.5 (back off by doubling). The transport is reliable already: a
retry is for a client that took a message in and lost it.

The clock runs exactly while `owed` > `acked`. So a client that has acknowledged what it was
forwarded is never given up. It is owed nothing of its own ops.
"""

import math
from collections.abc import Iterator
from enum import Enum, auto

from attrs import define, field

from squire_gatherings._rules.acks import LATER
from squire_gatherings._values.handover import WindowState

OWN_RANGES = 1024
"""How many ranges of its own ops are remembered of a client that doesn't acknowledge."""


class Verdict(Enum):
    """What is to be done for a client at some moment."""

    NOTHING = auto()
    RESEND = auto()
    GIVE_UP = auto()


@define(weakref_slot=False)
class DeliveryWindow:
    """What one client has been sent and has acknowledged, by seq.

    Times and durations are in seconds. What is sent while a retry is scheduled is part of the retry
    after that one. So a client has one due time, not one for each message.
    """

    retry_interval: float
    retry_limit: float
    acked: int
    """The client says that it has everything up to this seq. It may be ahead of `reached`."""

    reached: int = field(init=False)
    """Everything up to this seq was given to the connection, or needn't be given."""

    owed: int = field(init=False)
    """The last seq that was forwarded. Once it is acknowledged, everything is."""

    resend_to: int = field(init=False)
    """A retry sends what lies after `acked`, up to this seq."""

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
    """How many bytes must go out before the client can acknowledge; None before the first look."""

    _moved: int = field(init=False, default=0)
    """How many bytes had gone out at the last look."""

    def __attrs_post_init__(self) -> None:
        self.begin(self.acked)

    def begin(self, seq: int) -> None:
        """Note that the client begins with everything up to `seq`."""
        self.acked = self.reached = self.owed = self.resend_to = seq
        self._interval = self.retry_interval

    def wait_for(self, ack_delay: float) -> None:
        """Note that the client is asked to wait so long until it acknowledges; nothing is owed."""
        self._interval = self.retry_interval = max(self.retry_interval, LATER * ack_delay)

    @property
    def unacked(self) -> int:
        """How many seqs wait for an acknowledgement."""
        return max(0, self.owed - self.acked)

    @property
    def is_first_retry(self) -> bool:
        """Whether the next retry is the first since anything was acknowledged."""
        return self._interval == self.retry_interval

    # What happens.

    def forwarded(self, seq: int, now: float) -> None:
        """Note that the connection was given all that others did up to `seq`."""
        self.reached = seq
        if self.owed > self.acked:
            self.owed = seq
        elif seq > self.acked:
            self.owed = seq
            self._begin(now)

    def passed(self, seq: int) -> None:
        """Note that an answer tells the client of its own ops, from `reached` + 1 to `seq`."""
        if self.owed <= self.acked:
            self.reached = seq
            if seq > self.acked:
                self.acked = seq
            return
        first, self.reached = self.reached + 1, seq
        if self._own is None:
            self._own = [(first, seq)]
        elif self._own[-1][1] == first - 1 or len(self._own) >= OWN_RANGES:
            # Beyond the limit, what others did in between isn't sent again either.
            self._own[-1] = (self._own[-1][0], seq)
        else:
            self._own.append((first, seq))

    def acknowledged(self, seq: int, now: float) -> None:
        """Note that the client says that it has everything up to `seq`."""
        if seq <= self.acked:
            return
        self.acked = seq
        self.ever_acked = True
        if self.owed > seq:
            if self._own is not None:
                self._forget_own(self._own, seq)
            self._begin(now)
            return
        # The ops in between are its own.
        self.acked = max(seq, self.reached)
        self._own = self._target = None
        self.due_at = self.resend_at = self.give_up_at = math.inf

    # What is to be done.

    def verdict(self, now: float) -> Verdict:
        """Return what is to be done now; after `RESEND`, call `rescheduled`."""
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
        """Note that a retry was made, or left out because the first copy still waits here."""
        self._interval *= 2
        self.resend_at = now + self._interval
        self.resend_to = self.owed
        self.due_at = min(self.resend_at, self.give_up_at)

    # Handing over.

    def state(self, ahead: float) -> WindowState:
        """Return what another process goes on with, whose clock is `ahead` by so many seconds."""
        return WindowState(
            self.acked,
            self.reached,
            self.owed,
            self.resend_to,
            self.due_at + ahead,
            self.resend_at + ahead,
            self.give_up_at + ahead,
            self.ever_acked,
            self._interval,
            self._own,
            self.retry_interval,
        )

    def resume(self, state: WindowState, ahead: float) -> None:
        """Go on with what another process was at; our clock is `ahead` of its by so much."""
        self.acked, self.reached, self.owed = state.acked, state.reached, state.owed
        self.resend_to, self.ever_acked = state.resend_to, state.ever_acked
        self.due_at = state.due_at + ahead
        self.resend_at = state.resend_at + ahead
        self.give_up_at = state.give_up_at + ahead
        self._interval, self._own = state.interval, state.own
        if state.retry_interval is not None:
            self.retry_interval = state.retry_interval

    # What excuses a client.

    def looked(self, progress: int, in_transit: int, now: float) -> None:
        """Note that `progress` bytes have gone out so far, and that `in_transit` are still to go.

        The limit begins anew while bytes move that the client needs before it can acknowledge.
        Bytes that were sent later prove nothing: a client that reads, but never acknowledges, makes
        the bytes of each retry move.
        """
        if self._target is None:
            self._target = progress + in_transit
            if in_transit and now >= self.give_up_at:
                # Nobody has looked before, so nobody knows whether bytes have moved.
                self._give_up_from(now)
        elif self._moved < min(progress, self._target):
            self._give_up_from(now)
        self._moved = progress

    def excuse(self, since: float, until: float) -> None:
        """Leave the time from `since` to `until` out of account, since the server didn't listen.

        After it, the client has at least one retry interval.
        """
        if self.give_up_at != math.inf:
            lost = until - max(since, self.give_up_at - self.retry_limit)
            if lost > 0:
                soonest = until + min(self.retry_interval, self.retry_limit)
                self.give_up_at = max(self.give_up_at + lost, soonest)
                self.due_at = min(self.resend_at, self.give_up_at)

    def put_off(self, until: float) -> None:
        """Judge the client no sooner than at `until`: its last messages aren't known yet."""
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
