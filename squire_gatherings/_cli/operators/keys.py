"""Keys: what is pressed on a terminal, one key at a time, while something is shown."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

import trio

from squire_gatherings._cli.printing import is_terminal

if sys.platform != "win32":
    import termios
    import tty


@asynccontextmanager
async def open_keys(stream: TextIO | None) -> AsyncIterator[AsyncIterator[str]]:
    """Read single keys of a terminal until the block is left; then it is as it was before.

    There are none where the stream is no terminal, nor on Windows. Ctrl-C stays a signal.
    """
    if sys.platform == "win32" or stream is None or not is_terminal(stream):
        yield _none()
        return
    number = stream.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield _keys(number)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


async def _none() -> AsyncIterator[str]:
    await trio.lowlevel.checkpoint()
    return
    yield


async def _keys(number: int) -> AsyncIterator[str]:
    while True:
        await trio.lowlevel.wait_readable(number)
        data = os.read(number, 64)
        if not data:
            return
        # An arrow or a function key is several bytes, and none of ours.
        if len(data) == 1:
            yield data.decode("ascii", "replace")
