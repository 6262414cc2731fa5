"""How late gatherings end on a real clock, and what that does to all others meanwhile.

Each gathering that is due has a client in memory, which notes when its notice comes. Lateness is
that moment minus the deadline that the gathering had. Beside them other gatherings are used two
hundred times a second; the time from the moment at which a message was due to its answer is theirs.
There are four runs, or those that are named:

- `spread`: so many are due within ten seconds, while others stay open (`--count`).
- `second`: so many are due within one second.
- `instant`: so many are due at one instant.
- `sockets`: so many are due at one instant, each with a WebSocket on loopback, whose other end is
  in a process of its own and notes when the close frame comes.

What the notices alone take, and what Trio alone takes, is measured in the same process: the same
notices to the same connections in a loop; and as many tasks, each in a nursery under another one,
under a `move_on_at` scope of the same instant.

The garbage collector is set as `serve` sets it. `--cpu-clock` is for a machine that does other
things: a second is then one of this thread's CPU time, and waits take none. Exits with 1 if one is
early, if of those that are spread 0.1 % are more than 10 ms late or one more than 50 ms, or if 1 %
of the others' messages take more than 20 ms.
"""

import argparse
import gc
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import quantiles
from typing import TypeVar

import trio
from attrs import define, field

from benchmarks.leaks import Sink, resident
from squire_gatherings import CloseCode, DispersalReason, Hall, Outgoing, open_hall, serve
from squire_gatherings._cli.gc_tuning import calm_the_collector
from squire_gatherings._hall.hall import quotas_of
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._wire.codecs import JSON

T = TypeVar("T")

OTHERS, RATE = 20, 200.0
SETTLING = 2.0
PAIRS = 500


class CpuClock(trio.abc.Clock):
    """Counts this thread's CPU time, and jumps over the time in which it would wait."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def start_clock(self) -> None:
        """Nothing is to be started."""

    def current_time(self) -> float:
        """Return the time."""
        return time.thread_time() + self.skipped

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump to the deadline."""
        if deadline == math.inf:
            return math.inf
        self.skipped += max(0.0, deadline - self.current_time())
        return 0.0


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


def describe(values: list[float]) -> str:
    cuts = quantiles(values, n=1000)
    return (
        f"p50 {cuts[499]:.1f} ms, p99 {cuts[989]:.1f} ms, p99.9 {cuts[998]:.1f} ms,"
        f" max {max(values):.1f} ms"
    )


@asynccontextmanager
async def using_others(hall: Hall) -> AsyncIterator[list[float]]:
    """Use other gatherings meanwhile; give the milliseconds that each message took."""
    took: list[float] = []

    async def use(number: int, due: float) -> None:
        await hall.submit(f"other-{number % OTHERS}", [{"n": number}])
        took.append(1000 * (trio.current_time() - due))

    async def use_all(nursery: trio.Nursery) -> None:
        due, number = trio.current_time(), 0
        while True:
            await trio.sleep_until(due)
            # Each is sent when it is due, whether those before are answered or not.
            while due <= trio.current_time():
                nursery.start_soon(use, number, due)
                number += 1
                due += 1 / RATE

    for number in range(OTHERS):
        await hall.submit(f"other-{number}", [{"n": 0}])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use_all, nursery)
        yield took
        nursery.cancel_scope.cancel()


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


async def trio_alone(count: int) -> tuple[float, float]:
    """Return when all scopes of one instant were through, and how long nobody else ran."""
    longest, last = 0.0, trio.current_time()
    left, is_over = count, trio.Event()

    async def one(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal left
        async with trio.open_nursery():
            task_status.started()
            await ready.wait()
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

    ready = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(one)
        due = trio.current_time() + count * 0.0003 + SETTLING
        ready.set()
        nursery.start_soon(look)
        await is_over.wait()
        over = trio.current_time()
    return over - due, longest


@define
class Found:
    """What a run came to: lateness, and what others' messages took, in milliseconds."""

    late: list[float]
    others: list[float]
    alone: float
    reaped: float


def set_deadline(hall: Hall, name: str, at: float) -> float:
    """Have a gathering end then; return its deadline to the last bit."""
    last = hall.explain(name).last_processed_at
    return hall.change_rules(name, idle_timeout=at - last).deadline


def set_deadlines(hall: Hall, count: int, spread: float) -> list[float]:
    """Have `count` gatherings end within `spread` seconds, some time from now."""
    gc.collect()
    gc.freeze()
    # Once to see how long that takes.
    start = trio.current_time()
    for number in range(count):
        set_deadline(hall, f"room-{number}", start + 3600)
    first = trio.current_time() + 3 * (trio.current_time() - start) + SETTLING
    deadlines = [
        set_deadline(hall, f"room-{number}", first + number * spread / count)
        for number in range(count)
    ]
    assert trio.current_time() < first, "the first was due before all were ready"
    return deadlines


async def end(count: int, spread: float, idle: int = 0) -> Found:
    """Have `count` end within `spread` seconds, or at one instant, while `idle` more stay open."""
    crowd = Crowd(count)
    watches = [Watch(crowd) for _ in range(count)]
    async with open_hall(max_gatherings=None) as hall:
        budget = quotas_of(hall).budget
        before, start = resident(), time.perf_counter()
        for number in range(idle):
            await hall.open(f"idle-{number}")
        if idle:
            took = time.perf_counter() - start
            each = (resident() - before) / idle / 1024
            print(f"{idle} opened in {took:.0f} s, {each:.2f} KiB each", flush=True)
        for number, watch in enumerate(watches):
            await hall.join(f"room-{number}", watch)
        deadlines = set_deadlines(hall, count, spread)
        await trio.sleep_until(min(deadlines) - 0.2)
        async with using_others(hall) as others:
            await crowd.gone.wait()
            while budget.gatherings > OTHERS + idle:  # noqa: ASYNC110
                await trio.sleep(0.01)
            reaped = trio.current_time() - max(deadlines)
        late = [
            1000 * (watch.closed_at - deadline)
            for watch, deadline in zip(watches, deadlines, strict=True)
        ]
    gc.unfreeze()
    return Found(late, others, notices_alone(watches), reaped)


CONNECT = """
import json, selectors, socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
selector, closed_at = selectors.DefaultSelector(), [0.0] * count
def exactly(size):
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data
for number in range(count):
    connection = socket.create_connection((host, port))
    connection.sendall((
        f"GET /gatherings/room-{number} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n"
        "Upgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
    ).encode())
    head = b""
    while not head.endswith(b"\\r\\n\\r\\n"):
        head += exactly(1)
    # A text frame that says join, masked with zeros.
    connection.sendall(b"\\x81\\x8f\\0\\0\\0\\0" + b'{"type":"join"}')
    size = exactly(2)[1]
    exactly(int.from_bytes(exactly(2), "big") if size == 126 else size)
    selector.register(connection, selectors.EVENT_READ, number)
print("ready", flush=True)
left = count
while left:
    events = selector.select()
    now = time.perf_counter()
    for key, _ in events:
        if b"\\x88\\x06\\x0f\\xa1" not in key.fileobj.recv(4096):
            continue
        closed_at[key.data] = now
        selector.unregister(key.fileobj)
        key.fileobj.close()
        left -= 1
print(json.dumps(closed_at), flush=True)
"""
"""A process with clients that note when they are told of the end, by the machine's clock."""


def sends_alone(count: int) -> float:
    """Return the seconds that a notice and a close frame to so many sockets take."""
    outgoing = Outgoing(Dispersed("room-1000", "x" * 16, DispersalReason.IDLE, 0, 10.0))
    notice = JSON.encode(outgoing)
    pairs = []
    with socket.create_server(("127.0.0.1", 0), backlog=PAIRS) as listener:
        for _ in range(PAIRS):
            near = socket.create_connection(listener.getsockname())
            near.setblocking(False)
            pairs.append((near, listener.accept()[0]))
    start = time.perf_counter()
    for number in range(count):
        near, _ = pairs[number % PAIRS]
        near.send(b"\x81\x7e" + len(notice).to_bytes(2, "big") + notice)
        near.send(b"\x88\x06\x0f\xa1idle")
    took = time.perf_counter() - start
    for pair in pairs:
        for one in pair:
            one.close()
    return took


async def end_sockets(count: int) -> Found:
    """Have `count` end at one instant, each with a connection from another process."""
    async with open_hall(max_gatherings=None) as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", CONNECT, host, str(port), str(count)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.receive_some() == b"ready\n"
        deadlines = set_deadlines(hall, count, 0.0)
        await trio.sleep_until(min(deadlines) - 0.2)
        async with using_others(hall) as others:
            answer = b"".join([data async for data in process.stdout])
            reaped = trio.current_time() - max(deadlines)
        await process.wait()
        offset = time.perf_counter() - trio.current_time()
        nursery.cancel_scope.cancel()
    late = [
        1000 * (closed_at - offset - deadline)
        for closed_at, deadline in zip(json.loads(answer), deadlines, strict=True)
    ]
    gc.unfreeze()
    return Found(late, others, sends_alone(count), reaped)


def judge(what: str, found: Found, *, is_spread: bool = False) -> bool:
    """Print what a run came to; return whether it meets the targets."""
    print(f"{what}:")
    print(f"  late by {describe(found.late)}; the notices alone take {1000 * found.alone:.0f} ms")
    print(f"  others' messages take {describe(found.others)} ({len(found.others)})")
    print(f"  all reaped {found.reaped:.2f} s after the last was due", flush=True)
    is_met = min(found.late) >= 0 and quantiles(found.others, n=100)[98] <= 20
    if is_spread:
        beyond = max(found.late) - 1000 * found.alone
        is_met = is_met and quantiles(found.late, n=1000)[998] <= 10 and beyond <= 50
    return is_met


RUNS = ("spread", "second", "instant", "sockets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(RUNS)}; all by default")
    parser.add_argument(
        "--count",
        type=int,
        default=100_000,
        help="open in the run `spread`; a tenth ends in a second",
    )
    parser.add_argument("--second", type=int, default=100_000, help="due within one second")
    parser.add_argument("--instant", type=int, default=10_000, help="due at one instant")
    parser.add_argument("--sockets", type=int, default=8000, help="the same, with a WebSocket each")
    parser.add_argument("--ends", type=int, default=1000, help="a second, in the run `spread`")
    parser.add_argument("--cpu-clock", action="store_true")
    options = parser.parse_args()
    for name in options.runs:
        if name not in RUNS:
            parser.error(f"there's no run {name!r}")
    calm_the_collector()
    is_met = True

    def run(what: Callable[..., Awaitable[T]], *arguments: object) -> T:
        clock = CpuClock() if options.cpu_clock else None
        return trio.run(what, *arguments, clock=clock)

    for name in options.runs or RUNS:
        if name == "spread":
            due = min(10 * options.ends, options.count)
            found = run(end, due, due / options.ends, options.count - due)
            what = f"{options.ends} due each second for ten seconds, of {options.count} open"
            is_met &= judge(what, found, is_spread=True)
        elif name == "second":
            found = run(end, options.second, 1.0)
            is_met &= judge(f"{options.second} due within a second", found)
        elif name == "instant":
            over, alone = run(trio_alone, options.instant)
            print(
                f"Trio alone, {options.instant} scopes of one instant: all through after"
                f" {1000 * over:.0f} ms, nobody else runs for {1000 * alone:.0f} ms"
            )
            found = run(end, options.instant, 0.0)
            is_met &= judge(f"{options.instant} due at one instant", found)
        else:
            found = trio.run(end_sockets, options.sockets)
            is_met &= judge(f"{options.sockets} with a WebSocket due at one instant", found)
    sys.exit(0 if is_met else 1)


if __name__ == "__main__":
    main()
