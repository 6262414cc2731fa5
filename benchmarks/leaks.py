"""Whether dispersed gatherings leave memory behind: open, use and disperse many, many times.

All gatherings of a round are alive at the same moment, so that each round needs as much as
any other; their day passes on a virtual clock. Two figures must stay within 5 % from the
second round to the last (exit code 1 if not): the memory blocks that Python has in use when
all are gone, and the process's resident memory when all are alive. The resident memory when
all are gone is printed, too: it wavers with the fragmentation of Python's arenas.
"""

import argparse
import gc
import os
import sys
import time
from pathlib import Path

import trio
from trio.testing import MockClock

from squire_gatherings import CloseCode, Connection, Hall, Outgoing, open_hall
from squire_gatherings.edges.stores import MemoryStore
from squire_gatherings.values.log import Append

TOLERANCE = 0.05
DAY = 24 * 60 * 60.0


class Sink(Connection):
    """A connection that takes everything and keeps nothing."""

    def send(self, outgoing: Outgoing) -> None:
        """Drop it."""

    def close(self, code: CloseCode, reason: str) -> None:
        """There's nothing to close."""


class Forgetful(MemoryStore):
    """A store that keeps nothing, for what it kept would be counted."""

    def append_nowait(self, append: Append) -> bool:
        """Forget it at once."""
        return True


def resident() -> int:
    """Return this process's resident memory in bytes (Linux)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def use(hall: Hall, name: str) -> None:
    membership = await hall.join(name, Sink())
    await hall.join(name, Sink())
    await hall.submit(name, [{"n": 1}])
    membership.detach()


async def run(gatherings: int, rounds: int) -> bool:
    blocks: list[int] = []
    peaks: list[int] = []
    async with open_hall(store=Forgetful()) as hall:
        for number in range(1, rounds + 1):
            start = time.perf_counter()
            for index in range(gatherings):
                await use(hall, f"room-{index}")
            alive = len(hall.snapshot().gatherings)
            peaks.append(resident())
            await trio.sleep(2 * DAY)
            assert (alive, hall.gatherings()) == (gatherings, ())
            after = resident()
            blocks.append(sys.getallocatedblocks())
            print(
                f"round {number}: {alive} alive at once in {peaks[-1] / 2**20:.1f} MiB; gone: "
                f"{blocks[-1]} blocks, {after / 2**20:.1f} MiB, "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
    grown = [figures[-1] / figures[1] - 1 for figures in (blocks, peaks)]
    print(
        f"from round 2 to round {rounds}: blocks {grown[0]:+.2%}, alive {grown[1]:+.2%} "
        f"(allowed: {TOLERANCE:.0%})"
    )
    return max(grown) <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatherings", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    clock = MockClock(autojump_threshold=0)
    good = trio.run(run, options.gatherings, options.rounds, clock=clock)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
