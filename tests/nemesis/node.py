"""A node of the run: a process that serves, and what may be done to it."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import trio
from attrs import define, field

from tests.nemesis.clocks import step

READY = b"squire_gatherings listening on ws://"
PATIENCE = 60.0
"""Seconds for a start, and for an orderly end."""


class NodeFailed(Exception):
    """A node didn't do what it was told; the text has its last words."""


@define(eq=False)
class Node:
    """One place for a process: its port and its options. Each start is another process."""

    name: str
    options: list[str]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    command: Sequence[str] = ()
    """What starts a program at its place; nothing: here."""
    starts: int = 0
    process: trio.Process | None = field(default=None, init=False)
    is_stopped: bool = field(default=False, init=False)
    """Whether it was sent SIGSTOP."""

    @property
    def is_running(self) -> bool:
        """Whether its process is there, stopped or not."""
        return self.process is not None and self.process.poll() is None

    @property
    def clock(self) -> Path:
        """The file that says how far its wall clock is ahead."""
        return self.folder / f"{self.name}.clock"

    @property
    def errors(self) -> Path:
        """What its processes have written to standard error."""
        return self.folder / f"{self.name}.log"

    async def start(self) -> None:
        """Start the process, and wait until it listens.

        Raises:
            NodeFailed: It doesn't.

        Cancellation: the process may be there; `kill` ends it.
        """
        step(self.clock, 0)
        command = [*self.command, sys.executable, "-m", "tests.nemesis.clocks", str(self.clock)]
        command += ["serve", "--host", self.host, "--port", str(self.port)]
        with self.errors.open("ab") as errors:
            self.process = await trio.lowlevel.open_process(
                [*command, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).parents[2],
                # Ctrl-C in a terminal is for whoever runs the nemesis.
                start_new_session=True,
            )
        self.starts += 1
        self.is_stopped = False
        said = b""
        assert self.process.stdout is not None
        with trio.move_on_after(PATIENCE):
            while not said.endswith(b"\n"):
                more = await self.process.stdout.receive_some(1000)
                if not more:
                    break
                said += more
        if not said.startswith(READY):
            raise NodeFailed(f"{self.name} said {said!r}; {self.last_words()}")
        self.port = int(said.split()[-1].rpartition(b":")[2])

    async def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()
        await self._close()

    def stop(self) -> None:
        """SIGSTOP: it does nothing until `go_on`, and doesn't know."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    async def end(self) -> None:
        """Have it end in order, as an operator would.

        Raises:
            NodeFailed: It takes too long, or its exit code isn't 0.
        """
        assert self.process is not None
        self.process.terminate()
        with trio.move_on_after(PATIENCE):
            await self.process.wait()
        if self.process.poll() is None:
            await self.kill()
            raise NodeFailed(f"{self.name} doesn't end: {self.last_words()}")
        await self._close()
        if self.process.returncode:
            code = self.process.returncode
            raise NodeFailed(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it wrote to standard error."""
        return " ".join(self.errors.read_text(errors="replace")[-2000:].split())

    async def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        await self.process.stdout.aclose()
