"""One incarnation as its clients see it: when its end was due, and when it came.

The deadline moves with each counted message that the server processes, which happens after a
client sent it. From the client's side there are two bounds:

- A message that was answered has *provably* been processed, after it was sent. The notice may
  never come sooner than that sending + the idle timeout.
- Lateness = notice - (the last counted message sent + the idle timeout). This is an upper bound,
  since the processing came later than the sending, and the notice travelled, too. A message may
  cross the notice on its way: this incarnation didn't process it, and it doesn't count.
"""

import msgspec

from squire_gatherings._load.checks.findings import Finding, Kind

CLOCK_TOLERANCE = 0.001
"""Seconds: for the server's clock and ours ticking differently, and rounding."""


class Dispersal(msgspec.Struct, frozen=True, array_like=True):
    """One gathering's end: when (seconds since the start), and how late by either clock."""

    at: float
    late: float
    """Seconds, by the clients' clock: an upper bound."""

    server_late: float
    """Seconds, by the server's clock: what the notice says."""


class Incarnation:
    """One incarnation of one gathering. Times are of `time.monotonic`, in seconds."""

    __slots__ = (
        "acknowledged",
        "first_notice",
        "id",
        "idle_for",
        "idle_timeout",
        "last_notice",
        "late",
        "members",
        "proven",
        "sent",
    )

    def __init__(self, id_: str, idle_timeout: float) -> None:
        self.id = id_
        self.idle_timeout = idle_timeout
        self.members = 0
        """How many clients are connected to it, and should be told its end."""
        self.sent = 0.0
        """When the last counted message was sent to it."""
        self.proven = 0.0
        """When the last one was sent of which we know that it was processed."""
        self.first_notice: float | None = None
        self.last_notice = 0.0
        self.late = 0.0
        """The largest lateness that a client saw."""
        self.idle_for = 0.0
        self.acknowledged = 0
        """The highest seq that one of its clients was told is durable."""

    @property
    def due(self) -> float:
        """When it ends, if nothing more happens."""
        return self.sent + self.idle_timeout

    def was_processed(self, sent: float) -> None:
        """A counted message has certainly been processed. `sent` is when it was sent."""
        if sent > self.proven:
            self.proven = sent
        if sent > self.sent:
            self.sent = sent

    def noticed(self, now: float, reason: str, idle_for: float) -> None:
        """A client got the notice.

        Raises:
            Finding: It came too early, or says something wrong.
        """
        if self.first_notice is None:
            self.first_notice = now
        self.last_notice = now
        self.idle_for = idle_for
        crossed = now < self.due
        basis = self.proven if crossed else self.sent
        late = now - basis - self.idle_timeout
        self.late = max(self.late, late)
        if reason != "idle":
            raise Finding(Kind.BAD_NOTICE, f"dispersed with reason {reason!r}")
        if late < -CLOCK_TOLERANCE:
            what = f"the notice came {-late * 1000:.1f} ms before the gathering could be idle"
            raise Finding(Kind.EARLY, f"{what} for {self.idle_timeout:g} s")
        if idle_for < self.idle_timeout - CLOCK_TOLERANCE:
            what = f"dispersed after {idle_for:.3f} s, not {self.idle_timeout:g} s"
            raise Finding(Kind.EARLY, what)
