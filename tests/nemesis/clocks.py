"""Wall clocks of nodes that are set to another time.

`python -m tests.nemesis.clocks FILE serve …` runs the program with a wall clock that is ahead of
the machine's by the seconds that a file says. The monotonic clock goes on as it is, as it does
where somebody sets the time.
"""

import mmap
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = struct.Struct("d")


def step(file: Path, seconds: float) -> None:
    """Have a node's wall clock be ahead by this much from now on."""
    if not file.exists():
        file.write_bytes(SECONDS.pack(seconds))
    with file.open("r+b") as one:
        one.write(SECONDS.pack(seconds))


def clock_of(file: Path) -> Callable[[], float]:
    """Return the wall clock of whom this file is for."""
    machine = time.time
    with file.open("rb") as one:
        ahead = mmap.mmap(one.fileno(), SECONDS.size, access=mmap.ACCESS_READ)

    def wall() -> float:
        [seconds] = SECONDS.unpack_from(ahead)
        return machine() + float(seconds)

    return wall


def main(file: Path) -> None:
    """Run the program with this clock."""
    time.time = clock_of(file)
    # Only now, so that all of it has this clock.
    from squire_gatherings._cli import cli

    cli.main()


if __name__ == "__main__":
    clock = Path(sys.argv.pop(1))
    sys.argv[0] = "squire-gatherings"
    main(clock)
