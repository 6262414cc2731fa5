"""Memory of an idle gathering and of an idle connection, next to the floor, line by line.

The floor is what Trio alone needs for "a task with a nursery, a `move_on_at` scope and one
slotted object, started with `nursery.start`". Each figure comes from a process of its own:
resident memory with so many alive, less that before, per gathering. Of those that sleep, what the
store remembers isn't counted, as it would be in a file. A connection is
a real WebSocket on loopback, joined to one gathering with all the others; the server is
a process of its own, with its defaults. (Linux.)
"""

import argparse
import gc
import json
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define

from benchmarks.leaks import Sink, resident
from squire_gatherings import Hall, HallOptions, open_hall, serve
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.sleep import Slept
from tests.cli.process import serving
from tests.server.raw import RawClient

KINDS = {
    "floor": "the floor: task, nursery, scope, slotted object",
    "opened": "a gathering that was opened, and that nobody joined",
    "used": "one that processed a submit (LogBehaviour, memory:)",
    "joined": "one with an in-memory client",
    "asleep": "one that sleeps, and to which nobody is connected",
    "asleep joined": "one that sleeps, with an in-memory client, which counts too",
    "client": "that client alone: its connection, membership, rights and window",
}
UNLIMITED: HallOptions = {"max_gatherings": None, "max_connections_per_gathering": None}
CONNECTION = "a WebSocket connection, in the server"


class Elsewhere(MemoryStore):
    """A store that remembers who sleeps somewhere else."""

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()


@define
class Bare:
    """The one slotted object of the floor."""

    scope: trio.CancelScope | None = None


async def bare(one: Bare, *, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery():
        with trio.move_on_at(trio.current_time() + 86400) as one.scope:
            task_status.started()
            await trio.sleep_forever()


async def make(kind: str, hall: Hall, nursery: trio.Nursery, index: int, kept: list[Any]) -> None:
    name = f"room-{index}"
    if kind == "floor":
        kept.append(Bare())
        await nursery.start(bare, kept[-1])
    elif kind == "opened":
        await hall.open(name)
    elif kind == "used":
        await hall.submit(name, [{"n": index}])
    elif kind == "joined":
        kept.append(await hall.join(name, Sink()))
    elif kind == "client":
        # All in one gathering, where each adds nothing but itself, and a place in its crowd.
        kept.append(await hall.join("room", Sink()))
    else:
        if kind == "asleep joined":
            kept.append(await hall.join(name, Sink()))
        else:
            await hall.open(name)
        await hall.evict(name)


@asynccontextmanager
async def some(kind: str, count: int) -> AsyncIterator[None]:
    """Keep this many alive while the block runs."""
    store = Elsewhere() if kind.startswith("asleep") else MemoryStore()
    async with open_hall(store=store, **UNLIMITED) as hall, trio.open_nursery() as nursery:
        kept: list[Any] = []
        for index in range(count):
            await make(kind, hall, nursery, index, kept)
        yield
        nursery.cancel_scope.cancel()


async def weigh(kind: str, count: int) -> float:
    async with some(kind, 100):
        pass
    before = resident()
    async with some(kind, count):
        return (resident() - before) / count


async def explain(kind: str, count: int) -> list[tuple[float, float, str]]:
    """Return bytes and blocks per gathering by the line that allocated them, largest first."""
    async with some(kind, 100):
        pass
    gc.collect()
    tracemalloc.start()
    try:
        async with some(kind, count):
            gc.collect()
            statistics = tracemalloc.take_snapshot().statistics("lineno")
    finally:
        tracemalloc.stop()
    return _rows(statistics, count)


CONNECT = """
import sys
from tests.server.raw import RawClient
clients = [RawClient(sys.argv[1] + "/gatherings/room") for _ in range(int(sys.argv[2]))]
for client in clients:
    client.say(type="join")
    client.hear()
print("ready", flush=True)
sys.stdin.read()
"""
"""A process with this many clients, so that only the server's allocations are measured here."""


async def explain_connections(count: int) -> list[tuple[float, float, str]]:
    """Return bytes and blocks per joined connection of a server in this process."""
    async with open_hall() as hall, trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, hall, host="127.0.0.1", port=0))
        host, port = server.addresses[0]

        async def connect(some: int) -> trio.Process:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", CONNECT, f"ws://{host}:{port}", str(some)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            await process.stdout.receive_some()
            return process

        processes = [await connect(100)]
        gc.collect()
        tracemalloc.start()
        try:
            processes.append(await connect(count))
            gc.collect()
            statistics = tracemalloc.take_snapshot().statistics("lineno")
        finally:
            tracemalloc.stop()
        for process in processes:
            process.kill()
            await process.wait()
        nursery.cancel_scope.cancel()
    return _rows(statistics, count)


def _rows(statistics: list[tracemalloc.Statistic], count: int) -> list[tuple[float, float, str]]:
    return [
        (one.size / count, one.count / count, _place(one.traceback[0]))
        for one in statistics
        if one.size >= 40 * count
    ]


def weigh_connections(count: int) -> float:
    """Return the server's resident bytes per connection, with this many joined."""
    with serving("--store", "memory:") as (process, url), ExitStack() as stack:

        def connect(some: int) -> None:
            for _ in range(some):
                client = stack.enter_context(RawClient(f"{url}/gatherings/room"))
                client.say(type="join")
                client.hear()

        connect(100)
        before = resident(process.pid)
        connect(count)
        return (resident(process.pid) - before) / count


def _place(frame: tracemalloc.Frame) -> str:
    path = Path(frame.filename)
    lines = path.read_text().splitlines() if path.exists() else []
    text = lines[frame.lineno - 1].strip() if 0 < frame.lineno <= len(lines) else ""
    return f"{'/'.join(path.parts[-2:])}:{frame.lineno}  {text[:70]}"


OURS = (
    *(f"{package}/" for package in ("_hall", "_rules", "_server", "_wire", "_values", "_stores")),
    "squire_gatherings/",
    "<attrs generated methods squire",
)


def _owner(place: str) -> str:
    """Return whose code a line is; a coroutine's frame counts for the line that awaits it."""
    if "trio" in place.partition(":")[0] or place.startswith("_core/"):
        return "trio"
    if place.startswith("websockets/"):
        return "websockets"
    if place.startswith(OURS):
        return "squire_gatherings"
    return "Python"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--explain", choices=[*KINDS, "connection"], help="line by line, by tracemalloc"
    )
    parser.add_argument("--weigh", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.weigh:
        print(json.dumps(trio.run(weigh, options.weigh, options.count)))
    elif options.explain:
        if options.explain == "connection":
            rows = trio.run(explain_connections, min(options.count, options.connections))
        else:
            rows = trio.run(explain, options.explain, options.count)
        for size, blocks, place in rows:
            print(f"{size:7.0f} B {blocks:5.1f} blocks  {place}")
        owners: Counter[str] = Counter()
        for size, _, place in rows:
            owners[_owner(place)] += round(size)
        for owner, size in owners.most_common():
            print(f"{size:7} B in lines of {owner}")
        print(f"{sum(owners.values()):7} B in lines of 40 B or more")
    else:
        for kind in options.kinds:
            command = [sys.executable, "-m", "benchmarks.memory", "--weigh", kind]
            command += ["--count", str(options.count)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            size = json.loads(done.stdout)
            print(f"{size / 1024:6.2f} KiB, {size:5.0f} B  {KINDS[kind]}", flush=True)
        print(f"{weigh_connections(options.connections) / 1024:6.2f} KiB  {CONNECTION}")


if __name__ == "__main__":
    main()
