"""Several processes: what they come to together, and what bringing a client to another costs.

    python -m benchmarks.workers

First `serve --workers N` for each N: clients that each have a sync under way all the time, of
gatherings without others. The processor time of the servers for each sync says how it grows with
more cores than this machine has. Then two servers in this process, of which the second has the
gathering: what a connection takes, and what a round trip takes after it, directly, passed on,
relayed by HTTP/2, and by TLS, each in turn with the direct way. Ratios are of processor time.
"""

import argparse
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from tests.cluster.nodes import RunningNode, nodes, owned_by

HEAD = (
    "GET /gatherings/{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
READY = "squire_gatherings listening on ws://"


def frame(text: bytes) -> bytes:
    """Return a client's frame, masked with zeros."""
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


JOIN = frame(b'{"type":"join"}')


def sync(number: int) -> bytes:
    """Return a sync that nobody else has sent."""
    return frame(b'{"type":"sync","id":"s%d","base":0,"ops":[{"n":%d}]}' % (number, number))


# Many processes.


@contextmanager
def server(workers: int) -> Iterator[tuple[int, tuple[str, int]]]:
    """Serve by so many workers; give the process that was started, and where they listen."""
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--store", "memory:"]
    with subprocess.Popen(
        [*command, "--port", "0", "--workers", str(workers), "--close-grace", "100ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            host, _, port = process.stdout.readline().removeprefix(READY).strip().partition(":")
            yield process.pid, (host, int(port))
        finally:
            process.terminate()


def processor_time(pid: int) -> float:
    """Return how many seconds of a processor a process and its children have used."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if pid in (int(entry.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class EchoClient:
    """Has one sync under way all the time."""

    def __init__(self, address: tuple[str, int], room: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.sendall(HEAD.format(room).encode() + JOIN)
        got = b""
        while b'"joined"' not in got:
            got += self.socket.recv(65536)
        self.number = 0
        self.socket.setblocking(False)

    def say(self) -> None:
        """Send the next sync."""
        self.number += 1
        self.socket.send(sync(self.number))

    def hears_answer(self) -> bool:
        """Return whether the answer has come."""
        return b'"synced"' in self.socket.recv(65536)


def throughput(workers: int, clients: int, seconds: float) -> tuple[float, float]:
    """Return how many syncs a second were answered, and the processor's time for each."""
    with server(workers) as (pid, address), selectors.DefaultSelector() as selector:
        all_clients = [EchoClient(address, f"room-{number}") for number in range(clients)]
        for client in all_clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.say()
        done, used, began = 0, processor_time(pid), time.monotonic()
        while time.monotonic() < began + seconds:
            for key, _ in selector.select(1.0):
                if key.data.hears_answer():
                    done += 1
                    key.data.say()
        took = time.monotonic() - began
        used = processor_time(pid) - used
        for client in all_clients:
            client.socket.close()
        return done / took, used / done


# Two servers in one process.


@asynccontextmanager
async def connected(port: int, room: str) -> AsyncIterator[trio.SocketStream]:
    """Join a gathering."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(HEAD.format(room).encode() + JOIN)
        got = b""
        while b'"joined"' not in got:
            got += await stream.receive_some()
        yield stream


async def connect(node: RunningNode, room: str) -> None:
    """Join and go."""
    async with connected(node.server.addresses[0][1], room):
        pass


_numbers = iter(range(10**9))


async def echo(stream: trio.SocketStream) -> None:
    """Submit something, and wait for the answer."""
    await stream.send_all(sync(next(_numbers)))
    while b'"synced"' not in await stream.receive_some():
        pass


async def measured(call: Callable[[], Awaitable[None]], repeats: int) -> tuple[float, float]:
    """Return the median of what a call takes, and the processor's time for each; microseconds."""
    took = []
    used = time.process_time()
    for _ in range(repeats):
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    used = time.process_time() - used
    return statistics.median(took) * 1e6, used / repeats * 1e6


async def ways(repeats: int, rounds: int) -> None:
    """Print what the ways to another process cost, beside the direct one."""
    room = owned_by(1, 2)
    for name, is_far in (("passed on", False), ("relayed", True)):
        with tempfile.TemporaryDirectory() as folder:
            async with nodes(Path(folder), is_far=is_far) as (one, other):
                found: dict[str, list[tuple[float, float]]] = {}

                async def note(what: str, call: Callable[[], Awaitable[None]], times: int) -> None:
                    found.setdefault(what, []).append(await measured(call, times))  # noqa: B023

                for _ in range(rounds):
                    await note("connect directly", lambda: connect(other, room), repeats)
                    await note(f"connect, {name}", lambda: connect(one, room), repeats)
                    for what, node in (("echo directly", other), (f"echo, {name}", one)):
                        async with connected(node.server.addresses[0][1], room) as stream:
                            await note(what, lambda: echo(stream), 10 * repeats)
                told = {what: best(some) for what, some in found.items()}
                for what in ("connect", "echo"):
                    direct, way = told[f"{what} directly"], told[f"{what}, {name}"]
                    show(f"{what} directly", direct)
                    show(f"{what}, {name}", way)
                    print(f"{'':20} ratio of processor time {way[1] / direct[1]:.2f}")


def best(some: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the least of several measurements: others use the machine, too."""
    return min(one for one, _ in some), min(one for _, one in some)


def show(what: str, told: tuple[float, float]) -> None:
    """Print one line."""
    print(f"{what:20} {told[0]:8.0f} us, of the processor {told[1]:8.0f} us")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    asked = parser.parse_args()
    first: tuple[float, float] | None = None
    for workers in asked.workers:
        rate, used = throughput(workers, asked.clients, asked.seconds)
        first = first or (rate, used)
        print(
            f"{workers} workers: {rate:8,.0f} syncs/s ({rate / first[0]:.2f}),"
            f" {used * 1e6:6.1f} us of a processor each ({used / first[1]:.2f})"
        )
    trio.run(ways, asked.repeats, asked.rounds)


if __name__ == "__main__":
    main()
