"""The program in processes that `tests.forker` forks: each has its own, and costs little to start.

A start from nothing takes half a second of a processor, most of it for imports. A process that is
forked is like one that was started so, but what it imports was imported before, and it can't start
itself again (`upgrade`). Tests of how a process starts use `tests.cli.process`.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from attrs import define, field

from tests.cli.process import PATIENCE, READY

if TYPE_CHECKING:
    from tests.forker import Order


@define(eq=False)
class Forked:
    """A process that was forked; used as `subprocess.Popen` is."""

    pid: int
    stdout: TextIO
    stderr: TextIO
    _report: socket.socket
    returncode: int | None = field(default=None, init=False)

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        with suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; return the exit code."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            self.returncode = int(self._report.recv(16))
        return self.returncode

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end; return what it has said."""
        with ThreadPoolExecutor(2) as threads:
            said = [threads.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except TimeoutError:
                self.kill()
                raise
        out, err = (one.result() for one in said)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it hasn't ended."""
        if self.poll() is None:
            # It may have ended just now.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


@cache
def _forker() -> socket.socket:
    """Start the one that forks; return where it takes orders."""
    ours, its = socket.socketpair()
    with its:
        number = its.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forker", str(number)],
            cwd=Path(__file__).parents[1],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            # Ctrl-C in a terminal is for whoever runs the tests.
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


@contextmanager
def forked(
    *arguments: str,
    code: str | None = None,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Forked]:
    """Start the program, or other code; kill it at the end."""
    order: Order = {
        "code": code,
        "arguments": list(arguments),
        "folder": str(cwd or Path.cwd()),
        "environment": {**os.environ, **(environment or {})},
    }
    with ExitStack() as stack:
        out, its_out = os.pipe()
        stdout = stack.enter_context(open(out, encoding="utf-8"))
        err, its_err = os.pipe()
        stderr = stack.enter_context(open(err, encoding="utf-8"))
        report, its_report = map(stack.enter_context, socket.socketpair())
        nothing = os.open(os.devnull, os.O_RDONLY)
        descriptors = [nothing, its_out, its_err, its_report.fileno()]
        try:
            line = json.dumps(order).encode() + b"\n"
            sent = socket.send_fds(_forker(), [line], descriptors)
            _forker().sendall(line[sent:])
        finally:
            its_report.close()
            for one in descriptors[:3]:
                os.close(one)
        pid = b""
        while not pid.endswith(b"\n"):
            byte = report.recv(1)
            assert byte, "the one that forks has ended"
            pid += byte
        process = Forked(int(pid), stdout, stderr, report)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def serving(*options: str) -> Iterator[tuple[Forked, str]]:
    """Start `serve`, wait for its one line, give the process and the URL; kill it at the end."""
    with forked("serve", "--port", "0", *options) as process:
        line = process.stdout.readline()
        if not line.startswith(READY):
            process.kill()
            raise RuntimeError(f"{line!r}, {process.communicate()}")
        yield process, line.removeprefix(READY).strip()


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> tuple[int, str, str]:
    """Run a command; return its exit code and what it printed."""
    with forked(*arguments, cwd=cwd, environment=environment) as process:
        out, err = process.communicate()
        return process.wait(), out, err


def run_code(code: str, *arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run code as `python -c` does; return its exit code and what it printed."""
    with forked(*arguments, code=code, cwd=cwd) as process:
        out, err = process.communicate()
        return process.wait(), out, err
