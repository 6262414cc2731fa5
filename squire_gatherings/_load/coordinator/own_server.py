"""A server of our own: started for the test, as an operator would, and stopped after it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define

from squire_gatherings._load.coordinator.target import ServerFailed
from squire_gatherings._load.pipe_lines import PipeLines

READY = b"squire_gatherings listening on "
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


@define
class OwnServer:
    """A server that we started."""

    url: str
    process: trio.Process
    errors: str
    """The file that its standard error goes to."""

    async def stop(self) -> int | None:
        """Stop it as an operator would.

        Returns:
            Its exit code, or None if it hasn't ended after `STOP_TIMEOUT` seconds.

        Cancellation: it has been told to stop, and may still run.
        """
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

    Args:
        store: The store, as `serve` takes it, or `sqlite:` for a temporary file.
        idle_timeout: The idle timeout, in seconds.
        retry_interval: The retry interval, in seconds.

    Raises:
        ServerFailed: It didn't start.

    Cancellation: the server is killed.
    """
    with tempfile.TemporaryDirectory(prefix="squire-load-") as folder:
        if store == "sqlite:":
            store = f"sqlite:///{folder}/load.sqlite3"
        command = [sys.executable, "-m", "squire_gatherings", "serve", "--host", "127.0.0.1"]
        command += ["--port", "0", "--store", store, "--log-level", "error"]
        # All come from one address, and are anonymous.
        for limit in ("connections-per-address", "handshakes-per-address", "gatherings-per-user"):
            command += [f"--max-{limit}", "off"]
        command += ["--max-connections-per-gathering", "off"]
        command += ["--idle-timeout", _milliseconds(idle_timeout)]
        command += ["--retry-interval", _milliseconds(retry_interval)]
        # Settings in the environment are for the server that runs in earnest.
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
                line = await anext(PipeLines(process.stdout), b"")
            if not line.startswith(READY):
                raise ServerFailed(f"the server didn't start: {server.last_words()}")
            server.url = line.removeprefix(READY).decode()
            yield server
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
