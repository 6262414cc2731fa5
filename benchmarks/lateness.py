"""How late gatherings end on a real clock, and what that does to all others meanwhile.

Lateness is the moment at which a client has its notice, minus the deadline that its gathering had.
Beside those that are due, clients of another process use other gatherings two hundred times a
second, by WebSockets: the time from a sync to its answer is theirs. There are four runs:

- `spread`: so many are due within ten seconds, while others stay open (`--count`).
- `second`: so many are due within one second.
- `instant`: so many are due at one instant.
- `sockets`: so many are due at one instant, each with a WebSocket on loopback, whose other end is
  in a process of its own and notes when the close frame comes.

In the first three, each that is due has a client in memory, which notes when it is closed.

The notices' own cost is measured in the same process: the same notices to the same connections in
a loop, or as many writes to sockets whose other ends are in another process. *Beyond* it is how
much later each notice came than if nothing else were to be done for those that are due: one notice
after the other, none before its deadline. What the server's thread does until the last notice is
told apart from what it does until all is taken down. What Trio alone takes is measured, too: as
many tasks, each in a nursery under another one, under a `move_on_at` scope of the same instant.

The garbage collector is set as `serve` sets it. Each run has a process of its own. Exits with 1 if
one is early, if of those that are spread 0.1 % come more than 10 ms late or one more than 50 ms
beyond the notices' own cost, or if 1 % of the others' messages take more than 20 ms.
"""

import argparse
import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from statistics import quantiles

import trio
from attrs import define, field

from benchmarks.burst_clients import OTHERS
from benchmarks.leaks import Sink, resident
from squire_gatherings import CloseCode, DispersalReason, Hall, Outgoing, open_hall, serve
from squire_gatherings._collector import calm_the_collector
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._wire.codecs import JSON

RATE = 200
SETTLING = 2.0
OPENERS = 64
"""How many tasks open gatherings: they share Trio's passes."""


@define(eq=False)
class Crowd:
    """The clients that haven't had their notice."""

    left: int
    gone: trio.Event = field(factory=trio.Event)

    def one_has_it(self) -> None:
        self.left -= 1
        if not self.left:
            self.gone.set()


class Watch(Sink):
    """A connection that notes when it is closed."""

    __slots__ = ("closed_at", "crowd")

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.closed_at = 0.0

    def close(self, code: CloseCode, reason: str) -> None:
        """Note the time."""
        self.closed_at = trio.current_time()
        self.crowd.one_has_it()


def describe(seconds: list[float]) -> str:
    cuts = quantiles(seconds, n=1000)
    return (
        f"p50 {1000 * cuts[499]:.1f} ms, p99 {1000 * cuts[989]:.1f} ms,"
        f" p99.9 {1000 * cuts[998]:.1f} ms, max {1000 * max(seconds):.1f} ms"
    )


@contextmanager
def collector_pauses() -> Iterator[list[float]]:
    """Give the seconds of processor time that each garbage collection took within the block."""
    pauses: list[float] = []
    began = 0.0

    def note(phase: str, _: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append(time.thread_time() - began)

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


# The machine, and what is around the runs.


@asynccontextmanager
async def serving(hall: Hall) -> AsyncIterator[str]:
    """Serve a hall on loopback; give the URL."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        yield f"ws://{host}:{port}"
        nursery.cancel_scope.cancel()


async def open_clients(what: str, url: str, number: float) -> trio.Process:
    """Start a process of clients."""
    command = [sys.executable, "-m", "benchmarks.burst_clients", what, url, str(number)]
    return await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def ready(process: trio.Process) -> None:
    """Return when all have joined."""
    assert process.stdout is not None
    said = await process.stdout.receive_some()
    assert said == b"ready\n", said


async def told(process: trio.Process) -> list[float]:
    """Return what a process of clients tells at its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdin.aclose()
    answer = b"".join([data async for data in process.stdout])
    await process.wait()
    found: list[float] = json.loads(answer)
    return found


@define
class Others:
    """Clients of a process that use other gatherings."""

    process: trio.Process
    took: list[float] = field(factory=list)
    """The seconds that each message took, when it's over."""

    @classmethod
    async def open(cls, url: str) -> "Others":
        """Have them join."""
        process = await open_clients("others", url, RATE)
        await ready(process)
        return cls(process)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Have them send within the block."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"begin\n")
        yield
        self.took += await told(self.process)


def steps() -> float:
    """Return the seconds that ten million steps of an empty loop take, to compare machines by."""
    start = time.perf_counter()
    for _ in range(10_000_000):
        pass
    return time.perf_counter() - start


# What nothing can be faster than.


def notices_alone(watches: list[Watch]) -> float:
    """Return the seconds that the same notices take in a loop."""
    crowd = Crowd(len(watches) + 1)
    for watch in watches:
        watch.crowd = crowd
    start = time.perf_counter()
    for number, watch in enumerate(watches):
        notice = Dispersed(f"room-{number}", "x" * 16, DispersalReason.IDLE, 0, 10.0)
        watch.send(Outgoing(notice))
        watch.close(CloseCode.DISPERSED, "idle")
    return time.perf_counter() - start


async def sends_alone(count: int) -> float:
    """Return the seconds that writing a notice with a close frame to so many sockets takes.

    Their other ends are in another process, as those of the clients are.
    """
    outgoing = Outgoing(Dispersed("room-1000", "x" * 16, DispersalReason.IDLE, 0, 10.0))
    notice = JSON.encode(outgoing)
    frames = b"\x81\x7e" + len(notice).to_bytes(2, "big") + notice + b"\x88\x06\x0f\xa1idle"
    with socket.create_server(("127.0.0.1", 0), backlog=count) as listener:
        host, port = listener.getsockname()
        process = await open_clients("reads", f"ws://{host}:{port}", count)
        sockets = [listener.accept()[0] for _ in range(count)]
    await ready(process)
    start = time.thread_time()
    for one in sockets:
        one.send(frames)
    took = time.thread_time() - start
    await process.wait()
    for one in sockets:
        one.close()
    return took


async def trio_alone(count: int) -> tuple[float, float]:
    """Return when all scopes of one instant were through, and how long nobody else ran."""
    longest, last = 0.0, trio.current_time()
    left, is_over = count, trio.Event()

    async def one(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal left
        async with trio.open_nursery():
            task_status.started()
            await go.wait()
            with trio.move_on_at(due):
                await trio.sleep_forever()
        left -= 1
        if not left:
            is_over.set()

    async def look() -> None:
        nonlocal longest, last
        await trio.sleep_until(due - 0.01)
        last = trio.current_time()
        while not is_over.is_set():
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            longest, last = max(longest, now - last), now

    go = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(one)
        due = trio.current_time() + count * 0.0003 + SETTLING
        go.set()
        nursery.start_soon(look)
        await is_over.wait()
        over = trio.current_time()
    return over - due, longest


# The runs.


@define
class Found:
    """What a run came to, in seconds: for those that were due, and for the others."""

    deadlines: list[float]
    late: list[float]
    others: list[float]
    alone: float
    """What the notices alone take."""
    reaped: float
    """How long after the last deadline all were gone."""
    noticed: float
    """The processor time of the server's thread, from the first deadline to the last notice."""
    cpu: float
    """The same, until all were gone."""
    pauses: list[float]
    """The garbage collector's, meanwhile."""

    @property
    def beyond(self) -> list[float]:
        """How much later each notice came than if nothing else were done for them."""
        each = self.alone / len(self.late)
        found, through = [], 0.0
        for deadline, late in sorted(zip(self.deadlines, self.late, strict=True), key=sum):
            through = max(through, deadline) + each
            found.append(deadline + late - through)
        return found


def set_deadline(hall: Hall, name: str, at: float) -> float:
    """Have a gathering end then; return its deadline to the last bit."""
    last = hall.explain(name).last_processed_at
    return hall.change_rules(name, idle_timeout=at - last).deadline


async def set_deadlines(hall: Hall, count: int, spread: float) -> list[float]:
    """Have `count` gatherings end within `spread` seconds, some time from now."""
    # Some to see how long that takes.
    start = trio.current_time()
    some = min(count, 1000)
    for number in range(some):
        set_deadline(hall, f"room-{number}", start + 3600)
    each = (trio.current_time() - start) / some
    first = trio.current_time() + 2 * count * each + SETTLING
    deadlines = []
    for number in range(count):
        at = first + number * spread / count
        deadlines.append(set_deadline(hall, f"room-{number}", at))
        if not number % 100:
            await trio.lowlevel.checkpoint()
    assert trio.current_time() < first, "the first was due before all were ready"
    return deadlines


async def until_noticed(hall: Hall, count: int) -> float:
    """Return the processor time of this thread when so many notices have been given."""
    notices = quotas_of(hall).tally.notices
    while notices.total() < count:  # noqa: ASYNC110
        await trio.sleep(0.001)
    return time.thread_time()


async def open_many(hall: Hall, count: int) -> None:
    """Open so many, and say how that goes."""
    before, start = resident(), time.perf_counter()
    numbers = iter(range(count))

    async def open_some() -> None:
        for number in numbers:
            await hall.open(f"idle-{number}")
            if number and not number % 100_000:
                took = time.perf_counter() - start
                print(f"  {number} are open after {took:.0f} s", flush=True)

    with collector_pauses() as pauses:
        async with trio.open_nursery() as nursery:
            for _ in range(OPENERS):
                nursery.start_soon(open_some)
    took = time.perf_counter() - start
    each = (resident() - before) / count / 1024
    print(f"  {count} opened in {took:.0f} s, {each:.2f} KiB each")
    print(
        f"  the collector took {sum(pauses):.1f} s of that, {1000 * max(pauses):.1f} ms at most",
        flush=True,
    )


async def end(count: int, spread: float, idle: int) -> None:
    """Have `count` end within `spread` seconds, or at one instant, while `idle` more stay open."""
    crowd = Crowd(count)
    watches = [Watch(crowd) for _ in range(count)]
    async with open_hall(max_gatherings=None) as hall, serving(hall) as url:
        if idle:
            await open_many(hall, idle)
        for number, watch in enumerate(watches):
            await hall.join(f"room-{number}", watch)
        others = await Others.open(url)
        deadlines = await set_deadlines(hall, count, spread)
        budget = quotas_of(hall).budget
        await trio.sleep_until(min(deadlines) - SETTLING / 2)
        with collector_pauses() as pauses:
            async with others.at_work():
                await trio.sleep_until(min(deadlines))
                began = time.thread_time()
                noticed = await until_noticed(hall, count) - began
                await crowd.gone.wait()
                while budget.gatherings > OTHERS + idle:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                reaped, cpu = trio.current_time() - max(deadlines), time.thread_time() - began
        late = [
            watch.closed_at - deadline for watch, deadline in zip(watches, deadlines, strict=True)
        ]
        alone = notices_alone(watches)
        found = Found(deadlines, late, others.took, alone, reaped, noticed, cpu, pauses)
        # Closing a million would take minutes.
        conclude(found, is_spread=idle > 0)


async def end_sockets(count: int) -> None:
    """Have `count` end at one instant, each with a connection from another process."""
    async with open_hall(max_gatherings=None) as hall, serving(hall) as url:
        process = await open_clients("ends", url, count)
        await ready(process)
        others = await Others.open(url)
        deadlines = await set_deadlines(hall, count, 0.0)
        budget = quotas_of(hall).budget
        await trio.sleep_until(min(deadlines) - SETTLING / 2)
        with collector_pauses() as pauses:
            async with others.at_work():
                await trio.sleep_until(min(deadlines))
                began = time.thread_time()
                noticed = await until_noticed(hall, count) - began
                told_at = await told(process)
                while budget.gatherings > OTHERS or budget.connections > OTHERS:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                reaped, cpu = trio.current_time() - max(deadlines), time.thread_time() - began
        offset = time.perf_counter() - trio.current_time()
        late = [at - offset - deadline for at, deadline in zip(told_at, deadlines, strict=True)]
        alone = await sends_alone(count)
        conclude(Found(deadlines, late, others.took, alone, reaped, noticed, cpu, pauses))


def conclude(found: Found, *, is_spread: bool = False) -> None:
    """Print what a run came to, and end this process."""
    each = 1e6 * found.alone / len(found.late)
    pauses = found.pauses or [0.0]
    beyond = found.beyond
    print(f"  late by {describe(found.late)}, min {1000 * min(found.late):.3f} ms")
    print(f"  the notices alone take {1000 * found.alone:.0f} ms, {each:.1f} us each")
    print(f"  beyond that they are late by {describe(beyond)}")
    print(f"  others' messages take {describe(found.others)} ({len(found.others)})")
    print(
        f"  the server's thread takes {1e6 * found.noticed / len(found.late):.0f} us for each"
        " notice, others included"
    )
    print(
        f"  all are gone {found.reaped:.2f} s after the last was due;"
        f" {1e6 * found.cpu / len(found.late):.0f} us of processor time each, others included"
    )
    print(
        f"  the collector takes {1000 * sum(pauses):.0f} ms meanwhile,"
        f" {1000 * max(pauses):.1f} ms at most",
        flush=True,
    )
    is_met = min(found.late) >= 0 and quantiles(found.others, n=100)[98] <= 0.02
    if is_spread:
        is_met = is_met and quantiles(beyond, n=1000)[998] <= 0.01 and max(beyond) <= 0.05
    os._exit(0 if is_met else 1)


def run(name: str, options: argparse.Namespace) -> None:
    """Make one run, and end this process."""
    calm_the_collector()
    if name == "spread":
        due = min(10 * options.ends, options.count)
        print(
            f"{options.ends} due each second for ten seconds, of {options.count} open:", flush=True
        )
        trio.run(end, due, due / options.ends, options.count - due)
    elif name == "second":
        print(f"{options.second} due within a second:", flush=True)
        trio.run(end, options.second, 1.0, 0)
    elif name == "instant":
        over, alone = trio.run(trio_alone, options.instant)
        print(
            f"Trio alone, {options.instant} scopes of one instant: all through after"
            f" {1000 * over:.0f} ms, nobody else runs for {1000 * alone:.0f} ms"
        )
        print(f"{options.instant} due at one instant:", flush=True)
        trio.run(end, options.instant, 0.0, 0)
    else:
        print(f"{options.sockets} with a WebSocket due at one instant:", flush=True)
        trio.run(end_sockets, options.sockets)


RUNS = ("sockets", "instant", "second", "spread")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)}; all by default")
    parser.add_argument("--count", type=int, default=100_000, help="open in the run `spread`")
    parser.add_argument("--ends", type=int, default=1000, help="a second, in the run `spread`")
    parser.add_argument("--second", type=int, default=100_000, help="due within one second")
    parser.add_argument("--instant", type=int, default=10_000, help="due at one instant")
    parser.add_argument("--sockets", type=int, default=8000, help="the same, with a WebSocket each")
    options = parser.parse_args()
    for name in options.runs:
        if name not in RUNS:
            parser.error(f"there's no run {name!r}")
    names = options.runs or RUNS
    if len(names) == 1:
        run(names[0], options)
    print(f"ten million steps of an empty loop: {steps():.2f} s", flush=True)
    arguments = [f"--{name}={getattr(options, name)}" for name in ("count", "ends", *RUNS[:3])]
    command = [sys.executable, "-m", "benchmarks.lateness", *arguments]
    codes = [subprocess.run([*command, name], check=False).returncode for name in names]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
