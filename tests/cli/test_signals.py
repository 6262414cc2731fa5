"""Signals: what ends a server ends it with a notice, and nothing else ends it."""

import errno
import os
import pty
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from squire_gatherings._cli.signals import Terminal
from tests.cli.process import PATIENCE, READY
from tests.forked import serving
from tests.server.raw import RawClient

QUICK = ("--store", "memory:", "--close-grace", "500ms")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_is_told_to_everybody(name: str) -> None:
    with (
        serving(*QUICK) as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        client.say(type="join")
        client.hear()
        process.send_signal(signal.Signals[name])
        notice = client.hear()
        assert (notice["type"], notice["reason"]) == ("dispersed", "shutdown")
        client.end()
        assert process.wait(timeout=PATIENCE) == 0


def test_a_hangup_without_a_lost_terminal_is_no_stop() -> None:
    """The server is told to read its files again, but has none."""
    with (
        serving(*QUICK, "--log-level", "info") as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        for number in range(3):
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            assert any("event=reloaded" in line for line in process.stderr)
            client.say(type="fetch" if number else "join", id=str(number))
            assert client.hear()["type"] == ("fetched" if number else "joined")
        process.send_signal(signal.SIGTERM)
        assert client.hear()["type"] == "dispersed"
        client.end()
        assert process.wait(timeout=PATIENCE) == 0


def test_a_second_stop_exits_at_once() -> None:
    options = ["--store", "memory:", "--close-grace", "1h"]
    with serving(*options) as (process, url), RawClient(f"{url}/gatherings/a") as client:
        client.say(type="join")
        client.hear()
        process.send_signal(signal.SIGTERM)
        assert client.hear()["type"] == "dispersed"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGINT


def test_other_signals_are_ignored() -> None:
    with (
        serving(*QUICK) as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        for name in ("SIGUSR1", "SIGPIPE"):
            process.send_signal(signal.Signals[name])
        client.say(type="join")
        assert client.hear()["type"] == "joined"
        process.send_signal(signal.SIGTERM)
        client.hear()
        client.end()
        assert process.wait(timeout=PATIENCE) == 0


COMMAND = [sys.executable, "-m", "squire_gatherings", "serve", "--port", "0", "--store", "memory:"]


def test_with_nohup_it_outlives_its_terminal() -> None:
    script = f"trap '' HUP; exec {' '.join(COMMAND)}"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix(READY).strip()
            process.send_signal(signal.SIGHUP)
            with RawClient(f"{url}/gatherings/a") as client:
                client.say(type="join")
                assert client.hear()["type"] == "joined"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()


@contextmanager
def on_a_terminal(*options: str) -> Iterator[tuple["subprocess.Popen[str]", str, int]]:
    """Start `serve` on a terminal of its own; give the process, the URL, and the other end."""
    controlling, terminal = pty.openpty()
    script = (
        "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *COMMAND, *options],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            os.close(terminal)
            assert process.stdout is not None
            yield process, process.stdout.readline().removeprefix(READY).strip(), controlling
        finally:
            process.kill()


def test_a_lost_terminal_ends_it_with_a_notice() -> None:
    with on_a_terminal() as (process, url, terminal):
        with RawClient(f"{url}/gatherings/a") as client:
            client.say(type="join")
            client.hear()
            os.close(terminal)
            assert client.hear()["reason"] == "shutdown"
            client.end()
        assert process.wait(timeout=PATIENCE) == 0


def test_a_lost_terminal_may_be_told_twice() -> None:
    with (
        on_a_terminal("--close-grace", "2s") as (process, url, terminal),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        client.say(type="join")
        client.hear()
        os.close(terminal)
        assert client.hear()["type"] == "dispersed"
        process.send_signal(signal.SIGHUP)
        # It still waits for this client's answer when the signal comes.
        client.end()
        assert process.wait(timeout=PATIENCE) == 0


def test_on_a_terminal_that_is_there_a_hangup_is_no_stop() -> None:
    with on_a_terminal("--log-level", "info") as (process, url, terminal):
        process.send_signal(signal.SIGHUP)
        said = b""
        while b"event=reloaded" not in said:
            said += os.read(terminal, 4096)
        with RawClient(f"{url}/gatherings/a") as client:
            client.say(type="join")
            assert client.hear()["type"] == "joined"
            # Now the terminal is really lost.
            os.close(terminal)
            assert client.hear()["reason"] == "shutdown"
            client.end()
        assert process.wait(timeout=PATIENCE) == 0


def test_whether_a_terminal_is_lost_isnt_told_by_a_lack_of_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opens(error: int) -> None:
        def open_(*_: object) -> int:
            if error:
                raise OSError(error, "no")
            return os.dup(0)

        monkeypatch.setattr(os, "open", open_)

    opens(0)
    terminal = Terminal()
    assert not terminal.is_lost()
    for error, is_lost in (
        (errno.EMFILE, False),
        (errno.ENFILE, False),
        (errno.ENXIO, True),
        (errno.EIO, True),
    ):
        opens(error)
        assert terminal.is_lost() is is_lost
    assert not Terminal().is_lost()


def test_it_takes_as_many_open_files_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serving("--store", "memory:", "--log-level", "info") as (process, _):
            found = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (hard, hard)
    assert 'event="open files"' in err
    assert f"files={hard}" in err
