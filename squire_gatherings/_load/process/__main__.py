"""A generator process: `python -m squire_gatherings._load.process`.

It gets its orders as a line on standard input, and words after that (`orders`). It writes deltas as
lines of JSON on standard output. When its standard input ends, it ends: nobody is left to report
to.
"""

import os
import sys

import msgspec
import trio

from squire_gatherings._load.pipe_lines import PipeLines
from squire_gatherings._load.process.generator import Generator
from squire_gatherings._load.process.orders import READY, Orders


async def _main() -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        lines = PipeLines(stream)
        # Starting takes a while, and not the same in all processes: the run starts later.
        sys.stdout.buffer.write(READY + b"\n")
        sys.stdout.buffer.flush()
        async for line in lines:
            await Generator(msgspec.json.decode(line, type=Orders)).run(lines)
            return


if __name__ == "__main__":
    trio.run(_main)
