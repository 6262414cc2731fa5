"""The generator: the crowds of one process, from the ramp to the audit."""

import sys
from collections.abc import AsyncIterator
from time import monotonic

import msgspec
import trio

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.clients.audit import audit
from squire_gatherings._load.clients.context import ProcessContext
from squire_gatherings._load.clients.crowd import Crowd
from squire_gatherings._load.process.delta import DeltaMaker
from squire_gatherings._load.process.orders import AUDIT, QUIT, STOP, Orders

REPORT_EVERY = 0.5
WATCH_EVERY = 0.25
LONGEST_WAIT = 600.0
"""Seconds: ends that are further away than this are not waited for, and not checked."""


class Generator:
    """The crowds of one process, and what it reports of them."""

    def __init__(self, orders: Orders) -> None:
        self._process = orders.process
        plan = orders.plan
        self._context = ProcessContext(plan, orders.start)
        self._deltas = DeltaMaker(self._context.counters)
        self._phase = "loading"
        self._unchecked = 0
        self._audit = trio.Event()
        self._stop = trio.Event()
        idle = plan.idle_gatherings()
        slow: dict[int, set[int]] = {}
        for gathering, client in plan.slow_clients():
            slow.setdefault(gathering, set()).add(client)
        self._crowds = [
            Crowd(
                self._context,
                index,
                is_idle=index in idle,
                slow=frozenset(slow.get(index, ())),
            )
            for index in range(orders.process, plan.gatherings, plan.processes)
        ]

    async def run(self, words: AsyncIterator[bytes]) -> None:
        """Do all of it; return when told to quit, or when nobody is left to tell it.

        Args:
            words: What it's told (`orders`), one by one.

        Cancellation: ends all of it; the connections end with the process.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, words, nursery.cancel_scope)
            nursery.start_soon(self._context.poller.run)
            nursery.start_soon(self._context.schedule.run)
            nursery.start_soon(self._context.acks.run)
            nursery.start_soon(self._report)
            await self._until_settled()
            for crowd in self._crowds:
                crowd.cut()
            self._phase = "settled"
            await self._audit.wait()
            await audit(self._context, self._crowds)
            self._phase = "done"
            await trio.sleep_forever()

    async def _obey(self, words: AsyncIterator[bytes], scope: trio.CancelScope) -> None:
        async for word in words:
            if word == STOP:
                self._stop.set()
            elif word == AUDIT:
                self._audit.set()
            elif word == QUIT:
                break
        scope.cancel()

    async def _until_settled(self) -> None:
        """Return when all gatherings have ended (or it was told to stop)."""
        context = self._context
        while not self._stop.is_set():
            now = monotonic()
            for crowd in self._crowds:
                crowd.watch(now)
            over = now > context.start + context.plan.load_ends
            if over and all(crowd.is_settled for crowd in self._crowds):
                return
            if over and (context.idle_timeout or 0) > LONGEST_WAIT:
                break
            with trio.move_on_after(WATCH_EVERY):
                await self._stop.wait()
        context.stopping = True
        context.schedule.clear()
        await self._until_delivered()
        self._unchecked = sum(crowd.alive for crowd in self._crowds)

    async def _until_delivered(self) -> None:
        """Wait for what is under way, as long as patience lasts; the rest counts as lost."""
        patience = self._context.plan.patience
        give_up = monotonic() + patience
        while monotonic() < give_up:
            if not any(crowd.undelivered() for crowd in self._crowds):
                return
            await trio.sleep(WATCH_EVERY)
        for crowd in self._crowds:
            for client in crowd.undelivered():
                known = crowd.log.acknowledged
                if client.submissions:
                    what = f"{len(client.submissions)} syncs were not answered for {patience:g} s"
                    finding = Finding(Kind.UNANSWERED, what)
                else:
                    what = f"acknowledged {patience:g} s ago, has only {client.delivery.have}"
                    finding = Finding(Kind.LOST, what, known)
                self._context.found(finding, crowd.name, client.number)

    async def _report(self) -> None:
        context = self._context
        number = 0
        while True:
            number += 1
            # The same instants in all processes, so that the deltas add up.
            await trio.sleep(max(0.0, context.start + number * REPORT_EVERY - monotonic()))
            phase = self._phase
            delta = self._deltas.take(
                process=self._process,
                phase=phase,
                at=monotonic() - context.start,
                connected=context.connected,
                alive=sum(crowd.alive for crowd in self._crowds),
                opening=context.opening,
                first_joins_done=_last(context.first_joined, len(self._crowds)),
                all_joins_done=_last(context.joined, len(self._crowds) * context.plan.clients),
                idle_timeout=context.idle_timeout,
                ends_unchecked=self._unchecked,
            )
            await trio.to_thread.run_sync(_write, msgspec.json.encode(delta) + b"\n")


def _last(times: list[float], expected: int) -> float | None:
    return max(times, default=0.0) if len(times) == expected else None


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
