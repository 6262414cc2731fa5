"""What a burst in one gathering does to another: the other's latency, alone and beside it.

A server process, a process that floods one gathering (the client of `benchmarks.peers`, as fast
as it gets through), and here two clients of another gathering, one of which submits fifty times a
second.
Three processes share the cores: with two of them, the figures beside a flood hold what the
kernel's scheduler adds, so a control is printed: the same flood at another server process.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles

import trio

from benchmarks.peers.scenarios import ALL
from squire_gatherings.client import Gathering, open_client
from tests.cli.process import serving

RATE = 50.0
FLOODS = ("fan-out, 100 clients, bursts of 50", "fan-out, 1000 clients")


@contextmanager
def flooding(url: str, scenario: str, seconds: float) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.peers.client", url, "squire", scenario]
    command += ["--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.terminate()


async def probe(url: str, seconds: float) -> list[float]:
    """Return milliseconds from submitting until the other client has the op."""
    times: list[float] = []
    sent: dict[int, float] = {}

    async def look_on(gathering: Gathering) -> None:
        async for change in gathering:
            times.append(1000 * (time.perf_counter() - sent[change.op["n"]]))

    async with (
        open_client(url) as client,
        client.join("quiet", behaviour=None) as author,
        client.join("quiet", behaviour=None) as reader,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(look_on, reader)
        start = trio.current_time()
        for number in range(round(seconds * RATE)):
            await trio.sleep_until(start + number / RATE)
            sent[number] = time.perf_counter()
            nursery.start_soon(author.submit, {"n": number})
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    return times


def show(what: str, times: list[float]) -> None:
    cuts = quantiles(times, n=100)
    print(
        f"{what}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(times):.2f} ms"
        f" ({len(times)} ops)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    seconds = options.seconds
    assert {scenario.name for scenario in ALL} >= set(FLOODS)
    with serving("--store", "memory:") as (_, url), serving("--store", "memory:") as (_, other):
        show("alone", trio.run(probe, url, seconds))
        for flood in FLOODS:
            for where, target in (("in the same server", url), ("in another process", other)):
                with flooding(target, flood, seconds + 5):
                    time.sleep(2)
                    show(f"beside {flood}, {where}", trio.run(probe, url, seconds))


if __name__ == "__main__":
    main()
