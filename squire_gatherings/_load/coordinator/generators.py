"""The generator processes, seen from the coordinator, which starts them."""

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import IO

import msgspec
import trio
from attrs import define

from squire_gatherings._load.pipe_lines import PipeLines
from squire_gatherings._load.plan import Plan
from squire_gatherings._load.process.delta import Delta
from squire_gatherings._load.process.orders import READY, Orders

START_TIMEOUT = 60.0
STOP_TIMEOUT = 5.0
_decode_delta = msgspec.json.Decoder(Delta).decode


class GeneratorFailed(Exception):
    """A generator process ended when it shouldn't have."""


@define
class Generators:
    """All of them, started and waiting for orders."""

    _processes: list[trio.Process]
    _lines: list[PipeLines]
    _errors: IO[bytes]
    """What all of them write to standard error."""

    async def begin(self, plan: Plan) -> float:
        """Give them the plan.

        Returns:
            When second 0 is, by `time.monotonic`.

        Cancellation: some may have been told.
        """
        start = monotonic() + 0.3 + 50e-6 * plan.connections
        for number, process in enumerate(self._processes):
            orders = Orders(plan=plan, process=number, start=start)
            await _say(process, msgspec.json.encode(orders))
        return start

    async def tell(self, word: bytes) -> None:
        """Tell all of them a word (`process.orders`).

        Cancellation: some may have been told.
        """
        for process in self._processes:
            await _say(process, word)

    async def deltas(self, send: trio.MemorySendChannel[Delta]) -> None:
        """Pass on what they report, until all have ended.

        Raises:
            GeneratorFailed: One ended while there was a load.

        Cancellation: what was read but not passed on is lost.
        """
        async with send, trio.open_nursery() as nursery:
            for number in range(len(self._processes)):
                nursery.start_soon(self._read, number, send)

    async def _read(self, number: int, send: trio.MemorySendChannel[Delta]) -> None:
        phase = "loading"
        async for line in self._lines[number]:
            delta = _decode_delta(line)
            phase = delta.phase
            await send.send(delta)
        if phase == "loading":
            code = await self._processes[number].wait()
            raise GeneratorFailed(
                f"generator process {number} ended with {code} while loading: {self._last_words()}"
            )

    def _last_words(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().decode(errors="replace").split())[-1000:]


@asynccontextmanager
async def start_generators(count: int) -> AsyncIterator[Generators]:
    """Start generator processes, and wait until they are ready; end them at the end.

    Raises:
        GeneratorFailed: One didn't start.

    Cancellation: they are ended, and killed where that takes longer than `STOP_TIMEOUT` seconds.
    """
    command = [sys.executable, "-m", "squire_gatherings._load.process"]
    with tempfile.TemporaryFile() as errors:
        async with AsyncExitStack() as stack:
            processes = []
            for _ in range(count):
                process = await trio.lowlevel.open_process(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    # Ctrl-C is meant for us.
                    start_new_session=True,
                )
                stack.push_async_callback(_end, process)
                processes.append(process)
            lines = []
            for process in processes:
                assert process.stdout is not None
                lines.append(PipeLines(process.stdout))
            with trio.fail_after(START_TIMEOUT):
                for number, line in enumerate(lines):
                    if await anext(line, b"") != READY:
                        raise GeneratorFailed(f"generator process {number} didn't start")
            yield Generators(processes, lines, errors)


async def _say(process: trio.Process, line: bytes) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send_all(line + b"\n")
    except trio.BrokenResourceError:
        # It has ended; the reader of its deltas hears why.
        return


async def _end(process: trio.Process) -> None:
    with trio.move_on_after(STOP_TIMEOUT, shield=True) as scope:
        if process.stdin is not None:
            await process.stdin.aclose()
        await process.wait()
    if scope.cancelled_caught:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
