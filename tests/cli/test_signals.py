"""Signals: what ends a server ends it with a notice, and nothing else ends it."""

import os
import pty
import resource
import signal
import subprocess
import sys

import pytest

from tests.cli.process import READY, serving
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
        client.hear_close()
        assert process.wait(timeout=20) == 0


def test_a_lost_terminal_is_told_twice_and_stops_in_order() -> None:
    options = ["--store", "memory:", "--close-grace", "2s"]
    with serving(*options) as (process, url), RawClient(f"{url}/gatherings/a") as client:
        client.say(type="join")
        client.hear()
        process.send_signal(signal.SIGHUP)
        assert client.hear()["type"] == "dispersed"
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=20) == 0


def test_a_second_stop_exits_at_once() -> None:
    options = ["--store", "memory:", "--close-grace", "1h"]
    with serving(*options) as (process, url), RawClient(f"{url}/gatherings/a") as client:
        client.say(type="join")
        client.hear()
        process.send_signal(signal.SIGTERM)
        assert client.hear()["type"] == "dispersed"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 128 + signal.SIGINT


def test_other_signals_are_ignored() -> None:
    with (
        serving(*QUICK) as (process, url),
        RawClient(f"{url}/gatherings/a") as client,
    ):
        for name in ("SIGUSR1", "SIGUSR2", "SIGPIPE"):
            process.send_signal(signal.Signals[name])
        client.say(type="join")
        assert client.hear()["type"] == "joined"
        process.send_signal(signal.SIGTERM)
        client.hear()
        client.hear_close()
        assert process.wait(timeout=20) == 0


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
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def test_a_lost_terminal_ends_it_with_a_notice() -> None:
    controlling, terminal = pty.openpty()
    script = (
        "import fcntl, os, sys, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *COMMAND],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            os.close(terminal)
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix(READY).strip()
            with RawClient(f"{url}/gatherings/a") as client:
                client.say(type="join")
                client.hear()
                os.close(controlling)
                assert client.hear()["reason"] == "shutdown"
                client.hear_close()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def test_it_takes_as_many_open_files_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serving("--store", "memory:", "--log-level", "info") as (process, _):
            found = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == (hard, hard)
    assert 'event="open files"' in err
    assert f"limit={hard}" in err
