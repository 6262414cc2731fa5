"""The client under test as a process: orders go to its input, reports come from its output."""

import os
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field

from squire_gatherings._conform.subject import MAX_LINE, Misbehaved, Subject

STDERR_KEPT = 4096
"""How many bytes of what it wrote on standard error are shown when it fails."""
PATIENCE_AT_THE_END = 2.0
"""How many seconds it may take to end once its input has."""


class CannotStart(Exception):
    """The command can't be run; says why."""


@define(eq=False)
class ProcessLines:
    """The pipes of one process."""

    process: trio.Process
    _rest: bytearray = field(factory=bytearray)
    _last_words: deque[bytes] = field(factory=deque)

    async def send(self, line: bytes) -> None:
        """See `Lines`."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Misbehaved(await self._how_it_ended()) from None

    async def receive(self) -> bytes:
        """See `Lines`."""
        assert self.process.stdout is not None
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > MAX_LINE:
                raise Misbehaved(f"it printed a line of more than {MAX_LINE:,} bytes")
            data = await self.process.stdout.receive_some()
            if not data:
                raise Misbehaved(await self._how_it_ended())
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    async def listen_to_errors(self) -> None:
        """Keep the last that it writes on standard error."""
        assert self.process.stderr is not None
        async for data in self.process.stderr:
            self._last_words.append(bytes(data[-STDERR_KEPT:]))
            while sum(map(len, self._last_words)) - len(self._last_words[0]) >= STDERR_KEPT:
                self._last_words.popleft()

    async def _how_it_ended(self) -> str:
        # It may have closed its pipes, and go on for ever.
        code = None
        with trio.move_on_after(PATIENCE_AT_THE_END):
            code = await self.process.wait()
        said = b"".join(self._last_words)[-STDERR_KEPT:].decode(errors="replace").strip()
        how = "it closed its output" if code is None else f"its process ended with code {code}"
        return f"{how}, and had said: {said.splitlines()[-1]}" if said else how


@asynccontextmanager
async def open_process(command: Sequence[str], url: str) -> AsyncIterator[Subject]:
    """Run a client; end it with the block. Raises `CannotStart`.

    Args:
        command: The program and its arguments; `{url}` in them stands for the server's URL, which
            is also in the variable `SQUIRE_URL`.
        url: Where the server is.
    """
    arguments = [one.replace("{url}", url) for one in command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "SQUIRE_URL": url}
    try:
        open_it = partial(trio.lowlevel.open_process, arguments, env=environment, **pipes)
        process = await open_it()
    except OSError as error:
        raise CannotStart(f"can't run {arguments[0]}: {error.strerror or error}") from None
    try:
        lines = ProcessLines(process)
        subject = Subject(lines)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lines.listen_to_errors)
            nursery.start_soon(subject.run)
            yield subject
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(PATIENCE_AT_THE_END):
                await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            await trio.aclose_forcefully(pipe)
