"""The workshop of one generator process: what all of its clients share."""

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import trio

from squire_gatherings._load.agenda import Agenda
from squire_gatherings._load.findings import Finding, Kind, Violation
from squire_gatherings._load.messages import ENCODE, LoadOp
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.tally import Tally
from squire_gatherings._poller import Poller

if TYPE_CHECKING:
    from squire_gatherings._load.onlooker import Onlooker

ACK_DELAY = 0.08
"""Seconds from a forward to its acknowledgement: one for all that came, within 100 ms."""

ACK_SLACK = 0.005


class Workshop:
    """Plan, clock, sockets, agenda, acknowledgements to be sent, and the tally."""

    def __init__(self, plan: Plan, start: float) -> None:
        self.plan = plan
        self.start = start
        """`time.monotonic` at second 0 of the run, the same in all processes."""
        self.poller = Poller()
        self.agenda = Agenda()
        self.tally = Tally()
        self.stopping = False
        """Whether nobody comes, returns or submits any more."""
        self.idle_timeout = plan.idle_timeout
        self.connected = 0
        self.first_joined: list[float] = []
        """When each gathering's first onlooker joined for the first time."""
        self.joined: list[float] = []
        """The same of everybody."""
        self.opening = 0
        empty = ENCODE(LoadOp(0, 0, 123456.123456, ""))
        self.pad = "x" * max(0, plan.op_size - len(empty))
        self._acks: deque[tuple[float, Onlooker]] = deque()
        self._acks_wanted = trio.Event()

    def found(
        self, finding: Finding, gathering: str | None = None, onlooker: int | None = None
    ) -> None:
        """Count a violation."""
        at = monotonic() - self.start
        self.tally.found(
            Violation(finding.kind, finding.what, at, gathering, onlooker, finding.seq)
        )

    def came(self, number: int) -> None:
        """An onlooker of this number has joined for the first time."""
        at = monotonic() - self.start
        self.joined.append(at)
        if number == 0:
            self.first_joined.append(at)

    def learned_idle_timeout(self, seconds: float) -> None:
        """A gathering said what the idle timeout is; raises `Finding` if it's another."""
        if self.idle_timeout is None:
            self.idle_timeout = seconds
        if abs(seconds - self.idle_timeout) > 1e-6:
            what = f"joined with an idle timeout of {seconds:g} s, not {self.idle_timeout:g} s"
            raise Finding(Kind.PROTOCOL, what)

    def ack_soon(self, onlooker: "Onlooker", now: float) -> None:
        """Have an onlooker acknowledge what it has, a little later."""
        self._acks.append((now + ACK_DELAY, onlooker))
        if len(self._acks) == 1:
            self._acks_wanted.set()

    async def send_acks(self) -> None:
        """Send acknowledgements when they are due, until cancelled."""
        acks = self._acks
        while True:
            if not acks:
                self._acks_wanted = trio.Event()
                await self._acks_wanted.wait()
            await trio.sleep(max(0.0, acks[0][0] - monotonic()))
            now = monotonic()
            while acks and acks[0][0] <= now + ACK_SLACK:
                acks.popleft()[1].acknowledge(now)
