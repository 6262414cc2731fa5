"""The conductor: runs server and generators, adds up what they report, and judges the end."""

import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic

import trio
from attrs import define, evolve, field, frozen

from squire_gatherings._load.findings import Kind, Violation
from squire_gatherings._load.generators import Generators, start_generators
from squire_gatherings._load.memory import Memory, costs, peak
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.progress import Progress
from squire_gatherings._load.server import (
    OwnServer,
    ServerFailed,
    Watched,
    find_process,
    own_server,
)
from squire_gatherings._load.tally import Delta
from squire_gatherings._load.totals import Totals

SAMPLE_EVERY = 0.5
FILES_BESIDE = 100
CONNECT_TIMEOUT = 5.0


@frozen(kw_only=True)
class Target:
    """Which server: one at (host, port), or one of our own with this store."""

    address: tuple[str, int] | None
    store: str


@define
class Outcome:
    """What a load test saw, before it is made into a report."""

    plan: Plan
    totals: Totals
    memory: Memory | None = None
    memory_samples: list[tuple[float, int]] = field(factory=list)
    server_cpu: float | None = None
    """The server's CPU share while there was a load."""
    ended_at: float = 0.0
    """When all gatherings had ended, in seconds since the start; the encore follows."""

    interrupted: bool = False


async def conduct(
    plan: Plan, target: Target, progress: Progress, interrupts: AsyncIterator[int]
) -> Outcome:
    """Run one load test. The plan's host and port are set here.

    The first of `interrupts` ends the load, not the report; the second exits at once with
    128 + its number. Raises `ServerFailed` where there is no server, `GeneratorFailed`, and
    `OSError`. When cancelled, kills what it started.
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
            await _must_answer(address)
        plan = evolve(plan, host=address[0], port=address[1])
        generators = await stack.enter_async_context(start_generators(plan.processes))
        return await _Run(plan, own, generators, progress).run(interrupts)


class _Run:
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
        self._outcome = Outcome(plan, Totals(plan.processes))
        self._totals = self._outcome.totals
        pid = find_process(plan.host, plan.port) if own is None else own.process.pid
        self._server = None if pid is None else Watched(pid)
        self._ending = False
        self._settled = trio.Event()
        self._done = trio.Event()
        self._start = 0.0
        self._in_ramp: dict[bool, int | None] = {True: None, False: None}
        """Memory when the first onlookers were there, and when all were."""

    async def run(self, interrupts: AsyncIterator[int]) -> Outcome:
        async with trio.open_nursery() as nursery:
            at_start = self._server.memory() if self._server else None
            self._start = await self._generators.begin(self._plan)
            send, receive = trio.open_memory_channel[Delta](100)
            nursery.start_soon(self._generators.deltas, send)
            nursery.start_soon(self._take, receive)
            nursery.start_soon(self._heed, interrupts)
            if self._own is not None:
                nursery.start_soon(self._watch_process, self._own)
            if self._server is not None:
                nursery.start_soon(self._sample, self._server)
                nursery.start_soon(self._sample_ramp, self._server)
            await self._settled.wait()
            at_end = self._server.memory() if self._server else None
            self._outcome.ended_at = monotonic() - self._start
            if not self._outcome.interrupted:
                self._progress.say("encore: auditing the logs and the memory")
                await self._generators.tell(b"encore")
                await self._done.wait()
            if at_start is not None and at_end is not None:
                self._judge_memory(at_start, at_end)
            self._ending = True
            self._progress.say("ending")
            await self._generators.tell(b"quit")
            await self._stop_server()
            nursery.cancel_scope.cancel()
        self._totals.finish()
        return self._outcome

    # What comes in.

    async def _take(self, deltas: trio.MemoryReceiveChannel[Delta]) -> None:
        async for delta in deltas:
            self._totals.add(delta)
            memory = self._server.samples[-1][1] if self._server and self._server.samples else None
            self._progress.update(self._totals, memory)
            if self._totals.has_reached("settled", "done"):
                self._settled.set()
            if self._totals.has_reached("done"):
                self._done.set()

    async def _heed(self, interrupts: AsyncIterator[int]) -> None:
        await anext(interrupts)
        self._outcome.interrupted = True
        self._progress.say("interrupted: finishing what is under way")
        await self._generators.tell(b"stop")
        number = await anext(interrupts)
        if self._own is not None:
            self._own.process.kill()
        os._exit(128 + number)

    async def _watch_process(self, own: OwnServer) -> None:
        code = await own.process.wait()
        if not self._ending:
            self._found(Kind.SERVER, f"it ended with code {code}: {own.last_words()}")
            await self._generators.tell(b"stop")

    # The server's figures.

    async def _sample(self, server: Watched) -> None:
        """Read its memory twice a second, and its CPU time from the first op to the last."""
        load_begins = self._plan.ramp
        before: tuple[float, float] | None = None
        while True:
            at = monotonic() - self._start
            memory, cpu = server.memory(), server.cpu()
            if memory is None or cpu is None:
                return
            server.samples.append((at, memory))
            if at >= load_begins and not self._settled.is_set():
                if before is None:
                    before = (at, cpu)
                elif at <= self._plan.load_ends:
                    self._outcome.server_cpu = (cpu - before[1]) / (at - before[0])
            await trio.sleep(SAMPLE_EVERY)

    async def _sample_ramp(self, server: Watched) -> None:
        """Read its memory when one onlooker of each gathering is there, and when all are."""
        for first in (True, False):
            due = self._start + self._plan.memory_read_at(first=first)
            await trio.sleep(max(0.0, due - monotonic()))
            self._in_ramp[first] = server.memory()

    def _judge_memory(self, start: int, end: int) -> None:
        assert self._server is not None
        outcome = self._outcome
        for first in (True, False):
            # A reading counts only if everybody was there by then.
            done = self._totals.joins_done(first=first)
            if done is None or done > self._plan.memory_read_at(first=first):
                self._in_ramp[first] = None
        readings = (start, self._in_ramp[True], self._in_ramp[False])
        gathering, connection = costs(self._plan, *readings)
        before = [one for one in self._server.samples if one[0] <= outcome.ended_at]
        after = self._server.samples[len(before) :]
        memory = Memory(
            start=start,
            peak=peak(before, max(start, end)),
            end=end,
            again=None if outcome.interrupted else peak(after, self._server.memory() or end),
            per_gathering=gathering,
            per_connection=connection,
        )
        outcome.memory = memory
        if not memory.came_back:
            assert memory.again is not None
            what = (
                f"{_mib(memory.again)} in use when everybody came again, after all had ended; "
                f"{_mib(memory.peak)} at the most before: at most {_mib(memory.bound)} may be"
            )
            self._found(Kind.MEMORY, what)

    async def _stop_server(self) -> None:
        self._outcome.memory_samples = self._server.samples if self._server else []
        if self._own is None or self._own.process.returncode is not None:
            return
        code = await self._own.stop()
        if code != 0:
            self._found(Kind.SERVER, f"told to stop, it ended with {code}")

    def _found(self, kind: Kind, what: str) -> None:
        self._totals.found(Violation(kind, what, monotonic() - self._start))


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _allow_files(count: int) -> None:
    """Raise the soft limit of open files; the processes that we start inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and count > hard:
        raise ServerFailed(f"{count} open files are needed, and ulimit -Hn allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def _must_answer(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    why = f"no answer within {CONNECT_TIMEOUT:g} s"
    with trio.move_on_after(CONNECT_TIMEOUT), trio.socket.socket(family) as probe:
        try:
            await probe.connect(address)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
        else:
            return
    raise ServerFailed(f"can't connect to {address[0]} port {address[1]}: {why}")


def resolve(host: str, port: int) -> tuple[str, int]:
    """Return the address of a host; raises `ServerFailed`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerFailed(f"can't find {host}: {error.strerror or error}") from None
    return str(found[0][4][0]), port
