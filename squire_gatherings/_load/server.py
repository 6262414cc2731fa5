"""The server under test: started by the load test itself, or found by its port; its memory."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil  # type: ignore[import-untyped]
import trio
from attrs import define, field

from squire_gatherings._cli.units import format_duration
from squire_gatherings._load.lines import Lines

READY = b"squire_gatherings listening on "
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


class ServerFailed(Exception):
    """The server can't be started or reached; says why."""


@define
class Watched:
    """A server process whose memory and CPU time can be read. Units: bytes, seconds."""

    pid: int
    samples: list[tuple[float, int]] = field(factory=list)
    """Resident memory over the run: (seconds since the start, bytes)."""

    def memory(self) -> int | None:
        """Return the resident memory now; None when the process is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return None

    def cpu(self) -> float | None:
        """Return the CPU time so far; None when the process is gone."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)


@define
class OwnServer:
    """A server that we started."""

    url: str
    process: trio.Process
    errors: str
    """The file that its standard error goes to."""

    async def stop(self) -> int | None:
        """Stop it as an operator would; return its exit code, None if it had to be killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_TIMEOUT):
            return await self.process.wait()
        return None

    def last_words(self) -> str:
        """Return the end of what it wrote to standard error."""
        with open(self.errors, errors="replace") as file:
            return " ".join(file.read()[-500:].split())


@asynccontextmanager
async def own_server(
    *, store: str, idle_timeout: float, retry_interval: float
) -> AsyncIterator[OwnServer]:
    """Serve in a process of its own, on a free port of loopback; kill it at the end.

    `store` is as `serve` takes it, or `sqlite:` for a temporary file. Raises `ServerFailed`.
    """
    with tempfile.TemporaryDirectory(prefix="squire-load-") as folder:
        if store == "sqlite:":
            store = f"sqlite:///{folder}/load.sqlite3"
        command = [sys.executable, "-m", "squire_gatherings", "serve", "--host", "127.0.0.1"]
        command += ["--port", "0", "--store", store, "--log-level", "error"]
        command += ["--idle-timeout", format_duration(idle_timeout)]
        command += ["--retry-interval", format_duration(retry_interval)]
        # Settings for the server that runs in earnest are none of this one's business.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SQUIRE_")}
        errors = os.path.join(folder, "stderr")
        async with await trio.open_file(errors, "wb") as stderr:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr.wrapped,
                env=environment,
                # Ctrl-C is meant for us.
                start_new_session=True,
            )
        assert process.stdout is not None
        try:
            server = OwnServer("", process, errors)
            line = b""
            with trio.move_on_after(START_TIMEOUT):
                line = await anext(Lines(process.stdout), b"")
            if not line.startswith(READY):
                raise ServerFailed(f"the server didn't start: {server.last_words()}")
            server.url = line.removeprefix(READY).decode()
            yield server
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()


def find_process(host: str, port: int) -> int | None:
    """Return which process of this machine listens on a loopback address, if that can be told."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and connection.laddr.port == port and connection.pid:
                return int(connection.pid)
    except (psutil.Error, OSError):
        pass
    return None
