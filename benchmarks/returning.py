"""Clients that return at once, as after a restart of a server: what that does to all others.

So many clients of as many gatherings connect from another process at the same moment, shake hands
and join with what they have. Beside them clients of a third process use other gatherings two
hundred times a second (see `benchmarks.lateness`). Exits with 1 if 1 % of the others' messages take
more than 20 ms.
"""

import argparse
import sys
import time
from statistics import quantiles

import trio

from benchmarks.lateness import (
    Others,
    collector_pauses,
    describe,
    open_clients,
    serving,
    steps,
    told,
)
from squire_gatherings import open_hall
from squire_gatherings._collector import calm_the_collector


async def returning(count: int) -> bool:
    async with open_hall() as hall, serving(hall) as url:
        others = await Others.open(url)
        with collector_pauses() as pauses:
            async with others.at_work():
                await trio.sleep(0.5)
                start, began_at = time.perf_counter(), time.thread_time()
                joined = await told(await open_clients("returns", url, count))
                took, cpu = time.perf_counter() - start, time.thread_time() - began_at
    print(f"{count} clients that return at once: all are in after {max(joined):.1f} s")
    print(f"  each: {describe(joined)}")
    print(f"  others' messages take {describe(others.took)} ({len(others.took)})")
    print(f"  the server's thread: {cpu:.1f} s of {took:.1f} s, {1e6 * cpu / count:.0f} us each")
    print(f"  the collector takes {1000 * sum(pauses):.0f} ms, {1000 * max(pauses):.1f} ms at most")
    return quantiles(others.took, n=100)[98] <= 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=8000)
    options = parser.parse_args()
    print(f"ten million steps of an empty loop: {steps():.2f} s", flush=True)
    calm_the_collector()
    sys.exit(0 if trio.run(returning, options.count) else 1)


if __name__ == "__main__":
    main()
