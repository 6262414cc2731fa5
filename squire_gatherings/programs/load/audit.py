"""The audit: after everything has ended, each log is read once more, from the store.

One client joins each gathering with nothing, and gets every op that was acknowledged,
under the seq that it was acknowledged with.
"""

from collections.abc import Iterator
from time import monotonic

import trio

from squire_gatherings.programs.load import frames, messages
from squire_gatherings.programs.load.crowd import Crowd
from squire_gatherings.programs.load.findings import Finding, Kind
from squire_gatherings.programs.load.link import Link
from squire_gatherings.programs.load.workshop import Workshop

AT_ONCE = 20


class Reader:
    """Reads one gathering's log."""

    __slots__ = ("_crowd", "_have", "_link", "_target", "asked_at", "done")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._have = 0
        self._target = 0
        self.done = trio.Event()
        self.asked_at = monotonic()
        plan = crowd.workshop.plan
        path = f"/gatherings/{crowd.name}"
        self._link = Link(crowd.workshop.poller, (plan.host, plan.port), path, self)

    def opened(self) -> None:
        """Join with nothing."""
        self._link.send(frames.text(messages.join(f"{self._crowd.name}-audit", 0)))

    def message(self, payload: bytes, now: float) -> None:
        """Compare what comes."""
        try:
            message = messages.DECODE(payload)
            if isinstance(message, messages.Joined):
                self._target = message.seq
                known = self._crowd.ledger.acknowledged
                if message.seq < known:
                    what = f"acknowledged, but the restored log ends at {message.seq}"
                    raise Finding(Kind.LOST, what, known)
                self._compare(1, message.ops)
            elif isinstance(message, messages.Forward):
                ops = [message.op] if message.op is not None else message.ops or []
                if message.seq > self._have:
                    self._compare(message.seq, ops)
                self._link.send(frames.text(messages.ack(self._have)))
            else:
                raise Finding(Kind.REFUSED, f"{payload[:200]!r}")
        except ValueError as error:
            self._end(Finding(Kind.PROTOCOL, f"{error}: {payload[:100]!r}"))
        except Finding as finding:
            self._end(finding)
        else:
            if self._have >= self._target:
                self._link.send(frames.text(messages.LEAVE))
                self._end(None)

    def _compare(self, first: int, ops: list[messages.LoadOp]) -> None:
        if first != self._have + 1:
            raise Finding(Kind.GAP, f"came after {self._have} in the restored log", first)
        for op in ops:
            self._have += 1
            try:
                self._crowd.ledger.record(self._have, op.n)
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

    def _end(self, finding: Finding | None) -> None:
        if self.done.is_set():
            return
        workshop = self._crowd.workshop
        if finding is not None:
            workshop.found(finding, self._crowd.name)
        workshop.tally.counts["audited"] += 1
        self._link.close()
        self.done.set()

    def give_up(self, patience: float) -> None:
        """It has taken too long."""
        what = f"the restored log was not there after {patience:g} s"
        self._end(Finding(Kind.UNANSWERED, what))


async def audit(workshop: Workshop, crowds: list[Crowd]) -> None:
    """Read the logs of all gatherings that have one, a few at a time. May be cancelled."""
    left = iter([crowd for crowd in crowds if crowd.ledger.acknowledged])
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(_read, workshop, left)


async def _read(workshop: Workshop, left: Iterator[Crowd]) -> None:
    patience = workshop.plan.patience
    for crowd in left:
        try:
            reader = Reader(crowd)
        except OSError as error:
            workshop.found(Finding(Kind.CONNECT, f"can't connect: {error.strerror}"), crowd.name)
            continue
        with trio.move_on_after(patience) as scope:
            await reader.done.wait()
        if scope.cancelled_caught:
            reader.give_up(patience)
