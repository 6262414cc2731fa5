"""Logs: lines of text or JSON. The program never waits for their reader."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from squire_gatherings._cli import logs as module
from squire_gatherings._cli.logs import logs
from tests.cli.process import PATIENCE
from tests.forked import serving


def test_logs_are_json_lines_when_asked() -> None:
    options = ["--store", "memory:", "--log-level", "info", "--log-format", "json"]
    with serving(*options) as (process, url):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    files, first, auth, last = (json.loads(line) for line in err.splitlines())
    assert (files["event"], files["level"]) == ("open files", "info")
    assert (first["event"], first["level"], first["url"]) == ("listening", "info", url)
    assert (first["store"], first["idle_timeout"]) == ("memory:", "24h")
    assert (auth["level"], auth["auth"], auth["host"]) == ("warning", "none", "127.0.0.1")
    assert (last["event"], last["signal"]) == ("stopping", "SIGTERM")


def test_logs_are_text_by_default() -> None:
    with serving("--store", "memory:", "--log-level", "info") as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    _, first, _, last = err.splitlines()
    assert "level=info event=listening" in first
    assert "signal=SIGINT" in last


def pipe_for_errors(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Put a pipe in place of standard error; return its two ends."""
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(fileno=lambda: writing))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    return reading, writing


def test_an_exception_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipe_for_errors(monkeypatch)
    with logs("info", "json"):
        try:
            raise ZeroDivisionError("boom")
        except ZeroDivisionError:
            logging.getLogger("a").exception("it %s", "failed", extra={"gathering": "Zoë\ud800"})
    os.close(pipe[1])
    with os.fdopen(pipe[0]) as file:
        [line] = file.read().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["logger"]) == ("it failed", "error", "a")
    assert "ZeroDivisionError: boom" in told["exception"]


def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipe_for_errors(monkeypatch)
    monkeypatch.setattr(module, "QUEUED", 4)
    monkeypatch.setattr(module, "LAST_WORDS", 5)
    log = logging.getLogger("a")
    with logs("info", "json"):
        # The pipe takes one, the queue four, and the thread has one in its hands.
        for number in range(100):
            log.info("x" * 65_500, extra={"number": number})
        lines: list[bytes] = []

        def read() -> None:
            with os.fdopen(pipe[0], "rb") as file:
                lines.extend(file)

        reader = threading.Thread(target=read)
        reader.start()
    os.close(pipe[1])
    reader.join(20)
    told = [json.loads(line) for line in lines]
    dropped = [one["event"] for one in told if "were dropped: nobody reads" in one["event"]]
    numbers = [one["number"] for one in told if "number" in one]
    assert dropped
    assert sum(int(event.split()[0]) for event in dropped) + len(numbers) == 100
    assert numbers == sorted(set(numbers))


def test_a_stuck_pipe_stops_nothing() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--port", "0"]
    command += ["--store", "memory:", "--log-level", "debug"]
    while True:
        # Fill the pipe before the server begins.
        os.set_blocking(writing, False)
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()
            os.close(reading)
            os.close(writing)


def test_a_closed_standard_error_is_no_trouble(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    script = f"exec {sys.executable} -m squire_gatherings serve --port 0 --store {store} 2>&-"
    with subprocess.Popen(
        ["sh", "-c", f"{script} --log-level debug"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()
