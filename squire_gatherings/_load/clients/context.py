"""The process context: what all clients of one generator process share."""

from time import monotonic

from squire_gatherings._load.checks.findings import Finding, Kind, Violation
from squire_gatherings._load.clients.counters import Counters
from squire_gatherings._load.clients.delayed_acks import DelayedAcks
from squire_gatherings._load.clients.schedule import Schedule
from squire_gatherings._load.op import padding
from squire_gatherings._load.plan import Plan
from squire_gatherings._poller import Poller


class ProcessContext:
    """Plan, clock, sockets, schedule, acknowledgements to be sent, and the counters."""

    def __init__(self, plan: Plan, start: float) -> None:
        self.plan = plan
        self.start = start
        """`time.monotonic` at second 0 of the run, the same in all processes."""
        self.poller = Poller()
        self.schedule = Schedule()
        self.acks = DelayedAcks()
        self.counters = Counters()
        self.pad = padding(plan.op_size)
        """The text that each op is filled up with."""
        self.stopping = False
        """Whether nobody comes, returns or submits any more."""
        self.idle_timeout = plan.idle_timeout
        """Seconds; None until a gathering has told."""
        self.connected = 0
        """How many clients have joined and are there."""
        self.opening = 0
        """How many connections are being made."""
        self.first_joined: list[float] = []
        """When each gathering's first client joined for the first time."""
        self.joined: list[float] = []
        """When each client joined for the first time."""

    def found(
        self, finding: Finding, gathering: str | None = None, client: int | None = None
    ) -> None:
        """Count a violation."""
        at = monotonic() - self.start
        self.counters.found(
            Violation(finding.kind, finding.what, at, gathering, client, finding.seq)
        )

    def came(self, number: int) -> None:
        """The client of this number has joined its gathering for the first time."""
        at = monotonic() - self.start
        self.joined.append(at)
        if number == 0:
            self.first_joined.append(at)

    def learned_idle_timeout(self, seconds: float) -> None:
        """A gathering said what the idle timeout is.

        Raises:
            Finding: It's another one than was said before.
        """
        if self.idle_timeout is None:
            self.idle_timeout = seconds
        if abs(seconds - self.idle_timeout) > 1e-6:
            what = f"joined with an idle timeout of {seconds:g} s, not {self.idle_timeout:g} s"
            raise Finding(Kind.PROTOCOL, what)
