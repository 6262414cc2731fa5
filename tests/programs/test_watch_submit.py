"""`watch` and `submit`, as a person and a script use them, against a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.programs.process import serving


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "squire_gatherings", *arguments]


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False, **more
    )


def test_what_is_submitted_is_watched_until_the_end() -> None:
    with serving("--store", "memory:", "--idle-timeout", "3s") as (_, url):
        with subprocess.Popen(
            command("watch", url, "room", "--json"), stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout is not None
            joined = json.loads(watching.stdout.readline())
            assert (joined["type"], joined["gathering"], joined["seq"]) == ("joined", "room", 0)
            assert 0 < joined["expires_in"] <= 3
            first = run("submit", url, "room", '{"table": "é\\u009b"}')
            assert (first.returncode, first.stdout, first.stderr) == (0, "1\n", "")
            second = run("submit", url, "room", "-", "--json", input='{"n": 2}')
            assert json.loads(second.stdout) == {"gathering": "room", "seq": 2}
            rest = [json.loads(line) for line in watching.stdout]
        assert watching.returncode == 0
        assert rest[:2] == [
            {"type": "op", "seq": 1, "by": None, "op": {"table": "é\x9b"}},
            {"type": "op", "seq": 2, "by": None, "op": {"n": 2}},
        ]
        assert (rest[2]["type"], rest[2]["reason"], rest[2]["seq"]) == ("dispersed", "idle", 2)
        assert rest[2]["idle_for"] >= 3
        # A gathering that has dispersed is woken, and shows all that was.
        again = run("watch", url, "room", "--since", "0", "--count", "2")
        assert again.returncode == 0
        lines = again.stdout.splitlines()
        assert lines[0].startswith("joined room at seq 2; unused, it disperses in ")
        # What others wrote doesn't steer the terminal.
        assert lines[1:] == ['1  -  {"table": "é\\u009b"}', '2  -  {"n": 2}']


def test_the_time_left_runs_along_on_a_terminal() -> None:
    ours, theirs = os.openpty()
    try:
        with serving("--store", "memory:", "--idle-timeout", "2s") as (_, url):
            done = subprocess.run(
                command("watch", url, "room"), stdout=theirs, stderr=theirs, timeout=60, check=False
            )
        assert done.returncode == 0
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "disperses in 2s" in shown or "disperses in 1s" in shown
    assert "dispersed (idle) at seq 0, unused for 2s" in shown


def test_a_repeated_submit_is_applied_once() -> None:
    with serving("--store", "memory:") as (_, url):
        same = ("submit", url, "room", '{"n": 1}', "--client-id", "me", "--sync-id", "s1")
        assert [run(*same).stdout for _ in range(2)] == ["1\n", "1\n"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("submit", "URL", "room", "[1]"), "OP is not a JSON object"),
        (("submit", "URL", "room", "{"), "OP is not JSON"),
        (("submit", "URL", "a/b", "{}"), "a gathering id is"),
        (("submit", "URL", "room", "{}", "--sync-id", "x"), "go together"),
        (("submit", "http://x", "room", "{}"), "ws://HOST:PORT"),
        (("watch", "ws://127.0.0.1:1", "room"), "can't reach ws://127.0.0.1:1"),
        (("watch", "URL/elsewhere", "room"), "answered 404"),
        (("watch", "URL", "room", "--since", "7"), "since is 7, but the last op is 0"),
        (("watch", "URL", "room", "--count", "0"), "--count"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: tuple[str, ...], says: str) -> None:
    with serving("--store", "memory:") as (_, url):
        done = run(*(argument.replace("URL", url) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_who_stops_reading_is_no_error(tmp_path: Path) -> None:
    with serving("--store", "memory:") as (_, url):
        for n in range(3):
            run("submit", url, "room", f'{{"n": {n}}}')
        with subprocess.Popen(
            command("watch", url, "room", "--since", "0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            watching.stdout.close()
            assert watching.stderr.read() == b""
        assert watching.returncode == 1


def test_the_token_comes_from_the_environment() -> None:
    shown = run("watch", "--help", env={**os.environ, "SQUIRE_TOKEN": "s3cr3t"})
    assert "SQUIRE_TOKEN" in shown.stdout
    assert "s3cr3t" not in shown.stdout
