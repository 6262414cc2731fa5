"""The coordinator: runs one load test, from starting the processes to judging the end."""

import os
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import Protocol

import trio
from attrs import evolve

from squire_gatherings._load.checks.findings import Finding, Kind, Violation
from squire_gatherings._load.coordinator.aggregate import Aggregate
from squire_gatherings._load.coordinator.generators import Generators, start_generators
from squire_gatherings._load.coordinator.outcome import Outcome
from squire_gatherings._load.coordinator.own_server import OwnServer, own_server
from squire_gatherings._load.coordinator.server_watch import ServerWatch, find_process
from squire_gatherings._load.coordinator.target import ServerFailed, Target, must_answer
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.process.delta import Delta
from squire_gatherings._load.process.orders import AUDIT, QUIT, STOP

FILES_BESIDE = 100
"""How many files a process may have open besides its connections."""


class Progress(Protocol):
    """Is told how the load test stands."""

    def say(self, phase: str) -> None:
        """A new phase begins."""

    def update(self, aggregate: Aggregate, memory: int | None) -> None:
        """There are new figures; `memory` is the server's, in bytes."""


async def coordinate(
    plan: Plan, target: Target, progress: Progress, interrupts: AsyncIterator[int]
) -> Outcome:
    """Run one load test.

    Args:
        plan: Its host and port are set here.
        target: Which server is tested.
        progress: Is told how it stands.
        interrupts: Signals. The first one ends the load, not the report; the second one exits at
            once with 128 + its number.

    Raises:
        ServerFailed: There is no server.
        GeneratorFailed: A generator process ended when it shouldn't have.
        OSError: The system lacks something.

    Cancellation: kills what it started.
    """
    _allow_files(plan.connections + FILES_BESIDE)
    async with AsyncExitStack() as stack:
        progress.say("starting")
        own: OwnServer | None = None
        address = target.address
        if address is None:
            assert plan.idle_timeout is not None
            own = await stack.enter_async_context(
                own_server(
                    store=target.store,
                    idle_timeout=plan.idle_timeout,
                    retry_interval=plan.retry_interval,
                )
            )
            host, _, port = own.url.removeprefix("ws://").rpartition(":")
            address = (host, int(port))
        else:
            await must_answer(address)
        plan = evolve(plan, host=address[0], port=address[1])
        generators = await stack.enter_async_context(start_generators(plan.processes))
        return await _Coordinator(plan, own, generators, progress).run(interrupts)


class _Coordinator:
    """One load test under way."""

    def __init__(
        self,
        plan: Plan,
        own: OwnServer | None,
        generators: Generators,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._own = own
        self._generators = generators
        self._progress = progress
        self._outcome = Outcome(plan, Aggregate(plan.processes))
        self._aggregate = self._outcome.aggregate
        pid = find_process(plan.port) if own is None else own.process.pid
        self._watch = None if pid is None else ServerWatch(pid, plan)
        self._ending = False
        self._settled = trio.Event()
        self._done = trio.Event()
        self._start = 0.0

    async def run(self, interrupts: AsyncIterator[int]) -> Outcome:
        async with trio.open_nursery() as nursery:
            if self._watch is not None:
                self._watch.before_start()
            self._start = await self._generators.begin(self._plan)
            send, receive = trio.open_memory_channel[Delta](100)
            nursery.start_soon(self._generators.deltas, send)
            nursery.start_soon(self._take, receive)
            nursery.start_soon(self._heed, interrupts)
            if self._own is not None:
                nursery.start_soon(self._watch_process, self._own)
            if self._watch is not None:
                nursery.start_soon(self._watch.run, self._start)
            await self._settled.wait()
            if self._watch is not None:
                self._watch.all_ended()
            self._outcome.ended_at = monotonic() - self._start
            if not self._outcome.interrupted:
                self._progress.say("auditing the logs and the memory")
                await self._generators.tell(AUDIT)
                await self._done.wait()
            if self._watch is not None:
                self._judge_memory(self._watch)
            self._ending = True
            self._progress.say("ending")
            await self._generators.tell(QUIT)
            if self._watch is not None:
                self._outcome.memory_samples = self._watch.samples
                self._outcome.server_cpu = self._watch.cpu_share
            await self._stop_server()
            nursery.cancel_scope.cancel()
        self._aggregate.finish()
        return self._outcome

    async def _take(self, deltas: trio.MemoryReceiveChannel[Delta]) -> None:
        async for delta in deltas:
            self._aggregate.add(delta)
            samples = self._watch.samples if self._watch is not None else []
            self._progress.update(self._aggregate, samples[-1][1] if samples else None)
            if self._aggregate.has_reached("settled", "done"):
                self._settled.set()
            if self._aggregate.has_reached("done"):
                self._done.set()

    async def _heed(self, interrupts: AsyncIterator[int]) -> None:
        await anext(interrupts)
        self._outcome.interrupted = True
        self._progress.say("interrupted: finishing what is under way")
        await self._generators.tell(STOP)
        number = await anext(interrupts)
        if self._own is not None:
            self._own.process.kill()
        os._exit(128 + number)

    async def _watch_process(self, own: OwnServer) -> None:
        code = await own.process.wait()
        if not self._ending:
            self._found(Kind.SERVER, f"it ended with code {code}: {own.last_words()}")
            await self._generators.tell(STOP)

    def _judge_memory(self, watch: ServerWatch) -> None:
        memory = self._outcome.memory = watch.figures(
            first_done=self._aggregate.joins_done(first=True),
            all_done=self._aggregate.joins_done(first=False),
            audited=not self._outcome.interrupted,
        )
        if memory is not None:
            try:
                memory.check()
            except Finding as finding:
                self._found(finding.kind, finding.what)

    async def _stop_server(self) -> None:
        if self._own is None or self._own.process.returncode is not None:
            return
        code = await self._own.stop()
        if code != 0:
            self._found(Kind.SERVER, f"told to stop, it ended with {code}")

    def _found(self, kind: Kind, what: str) -> None:
        self._aggregate.found(Violation(kind, what, monotonic() - self._start))


def _allow_files(count: int) -> None:
    """Raise the soft limit of open files; the processes that we start inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count > hard:
        raise ServerFailed(f"{count} open files are needed, and ulimit -Hn allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
