"""Whether dispersed gatherings leave memory behind: open, use and disperse many, many times.

All gatherings of a round are alive at the same moment, so that each round needs as much as
any other; their day passes on a virtual clock. Exits with 1 if a figure grows by too much (5 %)
from the second round to the last: the resident memory with all alive, and what is in use with all
gone. The latter is Python's count of memory blocks; with PYTHONMALLOC=malloc
in the environment, where Python keeps no arenas of its own, it's the resident memory.
(With its arenas, resident memory with all gone is a third as much, but creeps by some ten MiB
over the first twenty rounds and then stays: Trio's own short-lived objects, of which one of
each kind is always alive, move to arenas that were made at a peak, and each keeps one of
them from being given back. It's printed, not judged.)
"""

import argparse
import gc
import os
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import trio
from trio.testing import MockClock

from squire_gatherings import CloseCode, Connection, Hall, Outgoing, open_hall
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.log import Append

TOLERANCE = 0.05
DAY = 24 * 60 * 60.0


class Sink(Connection):
    """A connection that takes everything and keeps nothing."""

    def send(self, outgoing: Outgoing) -> None:
        """Drop it."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Do nothing: there's nothing to close."""


class Forgetful(MemoryStore):
    """A store that keeps nothing: whatever it kept would be counted."""

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Forget it at once."""
        return True


def resident(process: int | str = "self") -> int:
    """Return a process's resident memory in bytes (Linux)."""
    gc.collect()
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def use(hall: Hall, name: str) -> None:
    membership = await hall.join(name, Sink())
    await hall.join(name, Sink())
    await hall.submit(name, [{"n": 1}])
    membership.detach()


async def run(gatherings: int, rounds: int, tolerance: float) -> bool:
    # The arrays are made before. A number that is kept while all are alive would lie among their
    # memory, and keep a megabyte of it from being given back.
    blocks, peaks, afters = (array("q", [0] * rounds) for _ in range(3))
    async with open_hall(store=Forgetful()) as hall:
        for number in range(1, rounds + 1):
            start = time.perf_counter()
            for index in range(gatherings):
                await use(hall, f"room-{index}")
            alive = len(hall.snapshot().gatherings)
            peaks[number - 1] = resident()
            await trio.sleep(2 * DAY)
            assert (alive, hall.gatherings()) == (gatherings, ())
            afters[number - 1] = resident()
            blocks[number - 1] = sys.getallocatedblocks()
            print(
                f"round {number}: {alive} alive at once in {peaks[number - 1] / 2**20:.1f} MiB, "
                f"gone: {blocks[number - 1]} blocks, {afters[number - 1] / 2**20:.1f} MiB, "
                f"{time.perf_counter() - start:.1f} s",
                flush=True,
            )
    in_use = afters if os.environ.get("PYTHONMALLOC") == "malloc" else blocks
    grown = [figures[-1] / figures[1] - 1 for figures in (in_use, peaks)]
    print(
        f"from round 2 to round {rounds}: in use with all gone {grown[0]:+.2%} (allowed: "
        f"{tolerance:.1%}), resident with all alive {grown[1]:+.2%} (allowed: {TOLERANCE:.1%})"
    )
    return grown[0] <= tolerance and grown[1] <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatherings", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="of what is in use")
    options = parser.parse_args()
    clock = MockClock(autojump_threshold=0)
    good = trio.run(run, options.gatherings, options.rounds, options.tolerance, clock=clock)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
