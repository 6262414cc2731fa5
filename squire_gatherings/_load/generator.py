"""A generator process: `python -m squire_gatherings._load.generator`.

Gets its part of the plan as a line on standard input, writes deltas as lines of JSON on
standard output, and obeys the words `stop`, `encore` and `quit`. When its standard input
ends, it ends: nobody is left to report to.
"""

import os
import sys
from time import monotonic

import attrs
import msgspec
import trio

from squire_gatherings._load.crowd import Crowd
from squire_gatherings._load.encore import give_encore
from squire_gatherings._load.findings import Finding, Kind
from squire_gatherings._load.lines import Lines
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.workshop import Workshop

READY = b"ready"
REPORT_EVERY = 0.5
WATCH_EVERY = 0.25
LONGEST_WAIT = 600.0
"""Seconds: ends that are further away than this are not waited for, and not checked."""


@attrs.frozen(kw_only=True)
class Orders:
    """What one generator process is told: the plan, which part is its, and when it starts."""

    plan: Plan
    process: int
    start: float
    """`time.monotonic` at second 0."""


class Generator:
    """The crowds of one process, and what it reports of them."""

    def __init__(self, orders: Orders) -> None:
        self._process = orders.process
        plan = orders.plan
        self._workshop = Workshop(plan, orders.start)
        self._phase = "loading"
        self._unchecked = 0
        self._encore = trio.Event()
        self._stop = trio.Event()
        idle = plan.idle_gatherings()
        slow: dict[int, set[int]] = {}
        for gathering, onlooker in plan.slow_onlookers():
            slow.setdefault(gathering, set()).add(onlooker)
        self._crowds = [
            Crowd(
                self._workshop,
                index,
                is_idle=index in idle,
                slow=frozenset(slow.get(index, ())),
            )
            for index in range(orders.process, plan.gatherings, plan.processes)
        ]

    async def run(self, lines: Lines) -> None:
        """Do all of it; returns when it was reported as done, or told to quit."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, lines, nursery.cancel_scope)
            nursery.start_soon(self._workshop.poller.run)
            nursery.start_soon(self._workshop.agenda.run)
            nursery.start_soon(self._workshop.send_acks)
            nursery.start_soon(self._report)
            await self._until_settled()
            for crowd in self._crowds:
                crowd.cut()
            self._phase = "settled"
            await self._encore.wait()
            await give_encore(self._workshop, self._crowds)
            self._phase = "done"
            await trio.sleep_forever()

    async def _obey(self, lines: Lines, scope: trio.CancelScope) -> None:
        async for line in lines:
            if line == b"stop":
                self._stop.set()
            elif line == b"encore":
                self._encore.set()
            elif line == b"quit":
                break
        scope.cancel()

    async def _until_settled(self) -> None:
        """Return when all gatherings have ended (or it was told to stop)."""
        workshop = self._workshop
        while not self._stop.is_set():
            now = monotonic()
            for crowd in self._crowds:
                crowd.watch(now)
            over = now > workshop.start + workshop.plan.load_ends
            if over and all(crowd.is_settled for crowd in self._crowds):
                return
            if over and (workshop.idle_timeout or 0) > LONGEST_WAIT:
                break
            with trio.move_on_after(WATCH_EVERY):
                await self._stop.wait()
        workshop.stopping = True
        workshop.agenda.clear()
        await self._until_delivered()
        self._unchecked = sum(crowd.alive for crowd in self._crowds)

    async def _until_delivered(self) -> None:
        """Give what is under way the time that it has; then it counts as lost."""
        patience = self._workshop.plan.patience
        give_up = monotonic() + patience
        while monotonic() < give_up:
            if not any(crowd.undelivered() for crowd in self._crowds):
                return
            await trio.sleep(WATCH_EVERY)
        for crowd in self._crowds:
            for onlooker in crowd.undelivered():
                known = crowd.ledger.acknowledged
                if onlooker.submitted:
                    what = f"{len(onlooker.submitted)} syncs were not answered for {patience:g} s"
                    finding = Finding(Kind.UNANSWERED, what)
                else:
                    what = f"acknowledged {patience:g} s ago, has only {onlooker.feed.have}"
                    finding = Finding(Kind.LOST, what, known)
                self._workshop.found(finding, crowd.name, onlooker.number)

    async def _report(self) -> None:
        workshop = self._workshop
        number = 0
        while True:
            number += 1
            # The same instants in all processes, so that the deltas add up.
            await trio.sleep(max(0.0, workshop.start + number * REPORT_EVERY - monotonic()))
            phase = self._phase
            delta = workshop.tally.take(
                process=self._process,
                phase=phase,
                at=monotonic() - workshop.start,
                connected=workshop.connected,
                alive=sum(crowd.alive for crowd in self._crowds),
                opening=workshop.opening,
                first_joins_done=_last(workshop.first_joined, len(self._crowds)),
                all_joins_done=_last(workshop.joined, len(self._crowds) * workshop.plan.onlookers),
                idle_timeout=workshop.idle_timeout,
                ends_unchecked=self._unchecked,
            )
            await trio.to_thread.run_sync(_write, msgspec.json.encode(delta) + b"\n")


def _last(times: list[float], expected: int) -> float | None:
    return max(times, default=0.0) if len(times) == expected else None


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def _main() -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        lines = Lines(stream)
        # Starting takes a while, and not the same in all processes: the run starts later.
        _write(READY + b"\n")
        async for line in lines:
            await Generator(msgspec.json.decode(line, type=Orders)).run(lines)
            return


if __name__ == "__main__":
    trio.run(_main)
