"""systemd: what it is told over its socket, and the sockets that it passes."""

import errno
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from squire_gatherings._cli.activation import passed_listeners
from squire_gatherings._cli.supervisor import Supervisor, find_supervisor
from tests.cli.process import PATIENCE, READY
from tests.server.raw import RawClient

QUICK = ("--store", "memory:", "--close-grace", "500ms")

LAUNCHER = """
import os, sys
for number, one in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(one, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(number - 2), LISTEN_FDNAMES="a")
os.execv(sys.executable, [sys.executable, "-m", "squire_gatherings", "serve", *sys.argv[2:]])
"""
"""Starts a server as systemd does: with sockets from 3 on, and variables that name its process."""


class Listener:
    """systemd's end of the socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(30)

    def hear(self) -> list[str]:
        """Return the lines of the next message that is no sign of life."""
        while True:
            lines = self.socket.recv(4096).decode().split("\n")
            if lines != ["WATCHDOG=1"]:
                return lines


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify"))
    with listener.socket:
        yield listener


@contextmanager
def started(
    *options: str, environment: dict[str, str] | None = None, passed: Sequence[socket.socket] = ()
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "squire_gatherings", "serve", *options]
    numbers = [one.fileno() for one in passed]
    if passed:
        command = [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers)), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
        pass_fds=numbers,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(READY), (line, process.stderr and process.stderr.read())
    return line.removeprefix(READY).strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a server that doesn't come up; return its code, and the line that says why."""
    _, errors = process.communicate(timeout=PATIENCE)
    [line] = errors.splitlines()
    return process.returncode, line


# What systemd is told.


def test_a_whole_life_is_told(systemd: Listener, tmp_path: Path) -> None:
    file = tmp_path / "squire.toml"
    file.write_text("max-connections = 5")
    environment = {"NOTIFY_SOCKET": systemd.name}
    options = ("--port", "0", *QUICK, "--config", str(file))
    with started(*options, environment=environment) as process:
        assert systemd.hear() == ["STATUS=opening memory:"]
        ready, status = systemd.hear()
        url = url_of(process)
        assert (ready, status) == ("READY=1", f"STATUS=listening on {url}")

        before = time.monotonic_ns() // 1000
        process.send_signal(signal.SIGHUP)
        reloading, at = systemd.hear()
        assert reloading == "RELOADING=1"
        assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
        assert systemd.hear() == ["READY=1", status]

        # One that fails is over, too, and its text adds no line, which would be a message.
        file.write_text('max-connections = "\\nMAINPID=1"')
        process.send_signal(signal.SIGHUP)
        assert systemd.hear()[0] == "RELOADING=1"
        ready, trouble = systemd.hear()
        assert ready == "READY=1"
        assert trouble.startswith(f"{status}; can't reload: ")

        with RawClient(f"{url}/gatherings/a") as client:
            client.say(type="join")
            client.hear()
            process.send_signal(signal.SIGTERM)
            # It is told before the clients are, who may take their time.
            assert systemd.hear()[0] == "STOPPING=1"
            assert client.hear()["reason"] == "shutdown"
            client.hear_close()
        assert process.wait(timeout=PATIENCE) == 0


def test_a_watchdog_gets_signs_of_life_until_the_loop_hangs(systemd: Listener) -> None:
    environment = {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "100000"}
    with started("--port", "0", *QUICK, environment=environment) as process:
        url_of(process)
        signs = 0
        while signs < 3:
            signs += systemd.socket.recv(4096) == b"WATCHDOG=1"
        # systemd would send this: the stack of what hung is in the journal.
        process.send_signal(signal.SIGABRT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in errors
        assert "most recent call first" in errors


async def test_signs_of_life_come_twice_in_each_interval(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    heard: list[float] = []
    with listener.socket:
        listener.socket.setblocking(False)
        supervisor = Supervisor(listener.name, watchdog=30)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.keep_alive)
            began = trio.current_time()
            while len(heard) < 4:
                await trio.lowlevel.wait_readable(listener.socket)
                assert listener.socket.recv(100) == b"WATCHDOG=1"
                heard.append(trio.current_time() - began)
            nursery.cancel_scope.cancel()
    assert heard == [0, 15, 30, 45]


def test_its_socket_may_have_no_file(tmp_path: Path) -> None:
    listener = Listener(f"@squire{tmp_path}")
    with listener.socket:
        find_supervisor({"NOTIFY_SOCKET": listener.name}).ready("listening")
        assert listener.hear() == ["READY=1", "STATUS=listening"]


@pytest.mark.parametrize("path", ["/nowhere/at/all", "@squire-nobody-listens", "/" + "x" * 200])
def test_a_supervisor_that_does_not_listen_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = find_supervisor({"NOTIFY_SOCKET": path})
    supervisor.ready("listening")
    supervisor.reloading()
    supervisor.stopping()
    [record] = caplog.records
    assert record.getMessage() == "systemd can't be told"


def test_a_supervisor_that_reads_nothing_holds_nobody_up(
    systemd: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    supervisor = find_supervisor({"NOTIFY_SOCKET": systemd.name})
    for _ in range(10_000):
        if caplog.records:
            break
        supervisor.ready("x" * 1000)
    [record] = caplog.records
    assert record.__dict__["why"] == os.strerror(errno.EAGAIN)


@pytest.mark.parametrize(
    ("environment", "address", "watchdog"),
    [
        ({}, None, None),
        ({"NOTIFY_SOCKET": ""}, None, None),
        ({"NOTIFY_SOCKET": "@"}, None, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None, None),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "30000000"}, "/a", 30.0),
        ({"NOTIFY_SOCKET": "@a", "WATCHDOG_USEC": "1"}, "\0a", 0.000001),
        ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, "/a", None),
        ({"WATCHDOG_USEC": "30000000"}, None, None),
        *(
            ({"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": wrong}, "/a", None)
            for wrong in ("0", "-1", "", "nan", "1e9", "²", "9" * 5000, str(2**64))
        ),
    ],
)
def test_what_the_environment_says(
    environment: dict[str, str], address: str | None, watchdog: float | None
) -> None:
    found = find_supervisor(environment)
    assert (found.address, found.watchdog) == (address, watchdog)


def test_a_process_that_goes_on_for_this_one_gives_signs_of_life_too() -> None:
    environment = {"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "2", "WATCHDOG_PID": str(os.getpid())}
    assert find_supervisor(environment).watchdog is not None
    assert environment == {"NOTIFY_SOCKET": "/a", "WATCHDOG_USEC": "2"}


# Sockets that systemd passes.


def test_clients_wait_while_one_server_ends_and_another_begins() -> None:
    # Where else it should listen doesn't matter.
    options = (*QUICK, "--host", "127.0.0.3", "--port", "1")
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.2", 0)) as second,
    ):
        addresses = ["ws://{}:{}".format(*one.getsockname()) for one in (first, second)]
        with started(*options, passed=[first, second]) as process:
            assert url_of(process) == addresses[0]
            for address in addresses:
                with RawClient(f"{address}/gatherings/a") as client:
                    client.say(type="join")
                    assert client.hear()["type"] == "joined"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        early = socket.create_connection(second.getsockname())
        with early, started(*options, passed=[first, second]):
            early.settimeout(30)
            early.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert early.recv(100).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize("kind", ["silent", "unix", "datagram"])
def test_a_socket_that_is_none_is_an_error(kind: str, tmp_path: Path) -> None:
    with socket.socket(
        socket.AF_UNIX if kind == "unix" else socket.AF_INET,
        socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM,
    ) as one:
        if kind == "unix":
            one.bind(str(tmp_path / "listener"))
            one.listen()
        passed = one.detach()
    with pytest.raises(ValueError, match=f"descriptor {passed}.* must be a TCP socket that list"):
        passed_listeners({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, passed)
    # It was taken, and let go.
    with pytest.raises(OSError):  # noqa: PT011
        os.fstat(passed)


def test_a_socket_that_others_reach_needs_tokens() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        with started(*QUICK, passed=[listener]) as process:
            code, line = ended(process)
        assert code == 2
        assert re.search(r"listens on 0\.0\.0\.0, which others may reach, .* --auth none", line)


def test_sockets_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a", "OTHER": "1"}
    assert passed_listeners(environment) == []
    assert environment == {"OTHER": "1"}


@pytest.mark.parametrize("count", ["", "many", "-1", "65", "9" * 5000, "²"])
def test_a_count_that_is_none_is_an_error(count: str) -> None:
    with pytest.raises(ValueError, match="LISTEN_FDS must be a number up to 64, not"):
        passed_listeners({"LISTEN_FDS": count, "LISTEN_PID": str(os.getpid())})


def test_a_descriptor_that_is_closed_is_an_error() -> None:
    """systemd says how many there are; somebody in between may have closed one."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        # None comes after it.
        first = os.dup2(one.fileno(), 1000)
        environment = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}
        with pytest.raises(ValueError, match=r"\(descriptor 1001\) can't be used: Bad file"):
            passed_listeners(environment, first)


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="no systemd-socket-activate here"
)
def test_systemd_itself_passes_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", sys.executable, "-m"]
    # Its other variables and our search path aren't passed on by itself.
    command[1:1] = [f"--setenv={name}" for name in ("PYTHONPATH", "PATH") if name in os.environ]
    with subprocess.Popen(
        [*command, "squire_gatherings", "serve", *QUICK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            assert "Listening on" in process.stderr.readline()
            with RawClient(f"ws://127.0.0.1:{port}/gatherings/a") as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
        finally:
            process.kill()
