"""The audit: after everything has ended, everybody joins once more.

It shows two things. The logs: one client of each gathering joins with nothing, and must get every
op that was acknowledged, under its seq, restored from the store. And the memory: if what the first
crowd used is free again, the second one needs nothing new (`checks.memory`).
"""

from collections.abc import Sequence
from time import monotonic
from typing import Protocol

import trio

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.log import LogCheck
from squire_gatherings._load.clients import frames, messages
from squire_gatherings._load.clients.context import ProcessContext
from squire_gatherings._load.clients.link import Link
from squire_gatherings._load.op import LoadOp


class AuditedCrowd(Protocol):
    """What the audit needs of the crowd of a gathering."""

    context: ProcessContext
    index: int
    """The gathering's number."""

    name: str
    """The gathering's id."""

    log: LogCheck


class Returner:
    """One client that comes back, and stays. The first one of each gathering reads the log."""

    __slots__ = ("_crowd", "_have", "_link", "_since", "_target", "client", "done")

    def __init__(self, crowd: AuditedCrowd, number: int) -> None:
        self._crowd = crowd
        self.client = f"{crowd.name}-{number}"
        # The others pretend to have everything.
        self._since = 0 if number == 0 else crowd.log.acknowledged
        self._have = self._since
        self._target = 0
        self._link: Link | None = None
        self.done = False

    @property
    def _is_auditor(self) -> bool:
        return self._since == 0

    def arrive(self) -> None:
        """Connect and join."""
        plan = self._crowd.context.plan
        path = f"/gatherings/{self._crowd.name}"
        try:
            self._link = Link(self._crowd.context.poller, (plan.host, plan.port), path, self)
        except OSError as error:
            self._end(Finding(Kind.CONNECT, f"can't connect: {error.strerror}"))

    def opened(self) -> None:
        """Join."""
        self._send(messages.join(self.client, self._since))

    def message(self, payload: bytes, now: float) -> None:
        """Compare what comes."""
        if self.done:
            # It has what it wanted. What may become of it now was checked before.
            return
        try:
            message = messages.DECODE(payload)
            if isinstance(message, messages.Joined):
                self._target = message.seq
                known = self._crowd.log.acknowledged
                if message.seq < known and self._is_auditor:
                    what = f"acknowledged, but the restored log ends at {message.seq}"
                    raise Finding(Kind.LOST, what, known)
                self._compare(self._since + 1, message.ops)
            elif isinstance(message, messages.Forward):
                ops = [message.op] if message.op is not None else message.ops or []
                if message.seq > self._have:
                    self._compare(message.seq, ops)
                self._send(messages.ack(self._have))
            elif not isinstance(message, messages.Ending):
                raise Finding(Kind.REFUSED, f"{payload[:200]!r}")
        except ValueError as error:
            self._end(Finding(Kind.PROTOCOL, f"{error}: {payload[:100]!r}"))
        except Finding as finding:
            self._end(finding)
        else:
            if self._have >= self._target:
                self._end(None)

    def _compare(self, first: int, ops: list[LoadOp]) -> None:
        if first != self._have + 1:
            raise Finding(Kind.GAP, f"came after {self._have} in the restored log", first)
        for op in ops:
            self._have += 1
            try:
                self._crowd.log.record(self._have, op.n)
            except Finding as finding:
                what = f"the restored log has {finding.what}"
                raise Finding(finding.kind, what, finding.seq) from None

    def ponged(self) -> None:
        """It pings nobody."""

    def closing(self, code: int, now: float) -> None:
        """Closed before it had everything."""
        self._end(Finding(Kind.CLOSED, f"closed with {code} while the log was read"))

    def ended(self, why: str) -> None:
        """Cut off before it had everything."""
        self._end(Finding(Kind.CLOSED, f"while the log was read: {why}"))

    def give_up(self, patience: float) -> None:
        """It has taken too long."""
        what = f"the restored log was not there after {patience:g} s"
        self._end(Finding(Kind.UNANSWERED, what))

    def _send(self, payload: bytes) -> None:
        if self._link is not None:
            self._link.send(frames.text(payload))

    def _end(self, finding: Finding | None) -> None:
        if self.done:
            return
        self.done = True
        # That the others couldn't join follows from what the auditor tells.
        if self._is_auditor:
            self._crowd.context.counters.counts["audited"] += self._crowd.log.acknowledged > 0
            if finding is not None:
                self._crowd.context.found(finding, self._crowd.name)


async def audit(context: ProcessContext, crowds: Sequence[AuditedCrowd]) -> None:
    """Let everybody join as in the ramp; return when all are there.

    Cancellation: those who are there stay connected.
    """
    plan = context.plan
    start = monotonic()
    returners = [
        (start + plan.joins_at(crowd.index, number), Returner(crowd, number))
        for crowd in crowds
        for number in range(plan.clients)
    ]
    for due, returner in returners:
        context.schedule.at(due, returner.arrive)
    give_up = start + plan.ramp + plan.patience
    while not all(returner.done for _, returner in returners):
        if monotonic() > give_up:
            for _, returner in returners:
                returner.give_up(plan.patience)
        await trio.sleep(0.1)
