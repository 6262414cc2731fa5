"""The command: exit codes, errors of one line, reports as files, Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests import forked
from tests.cli.process import PATIENCE, run_here

SMALL = ["--gatherings", "3", "--clients", "3", "--rate", "10", "--duration", "500ms"]
SMALL += ["--ramp", "200ms", "--processes", "2"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "squire_gatherings", "load", *arguments]


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    # The processes that it starts find the package, too.
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
    return forked.run("load", *arguments, cwd=cwd, **environment)


@contextmanager
def broken_server(fault: str) -> Iterator[str]:
    program = "import runpy; runpy.run_module('tests.load.broken_server', run_name='__main__')"
    with forked.forked(fault, code=program) as process:
        yield process.stdout.readline().rpartition(" ")[2].strip()


class _Tags(HTMLParser):
    """Finds what a page would have to fetch, and ids that aren't unique."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "svg"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset") and not (value or "").startswith(
                "#"
            ):
                self.fetched.append(value or "")


def test_a_good_server_passes_and_the_reports_say_so(tmp_path: Path) -> None:
    code, out, err = run(
        *SMALL,
        *("--idle-timeout", "2s", "--patience", "60s", "--json", "r.json", "--html", "r.html"),
        cwd=tmp_path,
    )
    assert code == 0, out + err
    assert out.startswith("No violation\n")
    assert "sync to forward" in out
    assert "dispersal late by (server's clock)" in out
    assert "load: starting\n" in err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"] is True
    assert report["ops"] == 15
    # A client that joins late, on a busy machine, is shown the first ops by its join.
    assert 0 < report["forwards"] - report["repeats"] <= 30
    assert (report["dispersed"], report["notices"]) == (3, 9)
    assert report["synced"]["count"] == 15
    assert report["lateness"]["count"] == 3
    assert report["memory"]["start"] > 0
    page = (tmp_path / "r.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert (tags.fetched, tags.pictures) == ([], 6)
    assert len(set(tags.ids)) == len(tags.ids)
    assert "No violation" in page
    assert re.search(r"url\((?!#)|@import", page) is None


def test_a_server_that_leaks_is_found(tmp_path: Path) -> None:
    with broken_server("leak") as url:
        code, out, err = run(*SMALL, "--url", url, "--json", "-", cwd=tmp_path)
    report = json.loads(out)
    assert code == 1
    # The report names the gatherings that stay in the server's store.
    assert report["left_in_store"] == f"load-{report['plan']['run']}-*"
    assert f"delete STORE '{report['left_in_store']}'" in " ".join(err.split())
    assert report["violation_kinds"] == {"memory": 1}, report["first_violations"]
    assert "in use when everybody came again" in report["first_violations"][0]["what"]


def test_ctrl_c_reports_what_was_found(tmp_path: Path) -> None:
    arguments = ["--gatherings", "3", "--duration", "1h", "--ramp", "200ms", "--json", "r.json"]
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "connections 15 of 15" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    assert out.startswith("No violation until it was interrupted\n")
    assert json.loads((tmp_path / "r.json").read_text())["interrupted"] is True


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--gatherings", "0"], "0 is not in the range"),
        (["--churn", "much"], "'much' is not a share such as 0.2 or 20%"),
        (["--duration", "60"], "'60' is not a duration such as"),
        (["--duration", "0"], "--duration must be above 0"),
        (["--rate", "nan"], "--rate must be a finite number"),
        (["--rate", "inf"], "--rate must be a finite number"),
        (["--op-size", "513MiB"], "--op-size must be at most 512.0 MiB"),
        (["--slow-readers", "401"], "without anybody who reads"),
        (["--url", "http://127.0.0.1:1"], "is not ws://HOST:PORT"),
        (["--url", "ws://127.0.0.1:1"], "can't connect to 127.0.0.1 port 1: Connection refused"),
        (["--url", "ws://192.0.2.1:8765"], "192.0.2.1 is not this machine; --allow-remote"),
        (["--html", "missing/report.html"], "there is no folder"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], complaint: str) -> None:
    check_one_line(run_here("load", *arguments), complaint)


def test_an_error_of_its_server_is_one_line(tmp_path: Path) -> None:
    check_one_line(run("--store", "redis:", cwd=tmp_path), "the server didn't start:")


def check_one_line(said: tuple[int, str, str], complaint: str) -> None:
    code, out, err = said
    *progress, error = err.splitlines()
    assert (code, out) == (2, "")
    assert error.startswith("squire_gatherings: error: ")
    assert complaint in error
    assert all(line.startswith("load: ") for line in progress)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError(name='rich')")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]),
    }
    done = subprocess.run(
        command(), capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "squire_gatherings: error: load needs rich: pip install 'squire-gatherings[load]'\n"
    )
