"""The command: exit codes, errors of one line, the report, and clients that connect themselves."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from websockets.sync.client import connect

from squire_gatherings._conform import files
from squire_gatherings._conform.run import CannotRun, Plan, run
from squire_gatherings._conform.stories import STORIES
from tests.cli.process import PATIENCE, run_here
from tests.conform.test_clients import PYTHON, certify, failures

QUICK = ["--only", "joins", "--only", "submits", "--watch", "50ms", "--jobs", "1"]


def test_a_client_that_passes() -> None:
    code, out, err = run_here("conform", *QUICK, "--", *PYTHON)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "passed  joins (json)",
        "passed  submits (json)",
        "squire_gatherings.client: 2 passed",
    ]


def test_a_client_that_breaks_a_rule() -> None:
    """One word is a command line. The stories of JSON's report are on standard error."""
    client = (
        "import json; print(json.dumps({'report': 'ready', 'name': 'sleeper', 'can': []}), "
        "flush=True); input(); input()"
    )
    command = f'{sys.executable} -c "{client}"'
    options = ["--only", "joins", "--only", "takes-a-snapshot", "--patience", "300ms", "--json"]
    code, out, err = run_here("conform", *options, "--seed", "5", command)
    assert code == 1
    report = json.loads(out)
    assert (report["passed"], report["client"], report["seed"]) == (False, "sleeper", 5)
    [joins, snapshot] = report["results"]
    assert joins["did"] == "didn't connect within 0.3 s"
    assert joins["see"] == "docs/protocol.md#join"
    assert (snapshot["outcome"], snapshot["did"]) == ("skipped", "snapshot, state")
    lines = [line.strip() for line in err.splitlines()]
    assert "The client didn't connect within 0.3 s." in lines
    assert any(line.endswith("--only joins --encoding json --seed 5") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give the command of a client, or a URL"),
        (["--only", "nonsense", "true"], "there is no story 'nonsense'"),
        (["no-such-program-here", "x"], "can't run no-such-program-here"),
        (["'"], "the command can't be taken apart"),
        ([""], "the command is empty"),
        (["--patience", "0s", "true"], "--patience must be above 0"),
        (["true"], "ended with code 0"),
        (["--encoding", "cbor", "true"], "Invalid value for '--encoding'"),
        (["ws://example.org:1"], "example.org is not an address of loopback"),
        (["ws://127.0.0.1"], "is not ws://HOST:PORT"),
        (["http://127.0.0.1:1"], "is not ws://HOST:PORT"),
        (["ws://127.0.0.1:99999"], "not a URL"),
        (["--vectors", "/dev/null/x"], "can't write the vectors"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: list[str], said: str) -> None:
    code, out, err = run_here("conform", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = run_here("conform", f"ws://127.0.0.1:{taken.getsockname()[1]}")
    assert (code, out) == (2, "")
    assert "can't listen at 127.0.0.1" in err
    assert len(err.splitlines()) == 1


def test_what_a_client_says_is_shown_on_one_line() -> None:
    said = r"print('{\"report\":\"ready\",\"name\":\"a\\u001b[2Jb\"}', flush=True)"
    client = f"import sys; {said}; sys.stderr.write('c\\x1b[2Jd'); sys.exit(1)"
    code, out, _ = run_here("conform", "--only", "joins", "--", sys.executable, "-c", client)
    assert code == 1
    assert "\x1b" not in out
    assert "had said: c?[2Jd." in out
    assert "a?[2Jb: 1 failed" in out


def test_nobody_reads() -> None:
    """It ends, and ends its clients, as any command does."""
    command = [sys.executable, "-m", "squire_gatherings", "conform", *QUICK, "--", *PYTHON]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


def test_the_stories_are_listed() -> None:
    code, out, err = run_here("conform", "--list")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == list(STORIES)
    code, out, _ = run_here("conform", "--list", "--only", "takes-*", "--only", "joins")
    assert code == 0
    assert out.count("\n") == sum(name.startswith("takes-") for name in STORIES) + 1


def test_vectors_are_written(tmp_path: Path) -> None:
    assert run_here("conform", "--vectors", str(tmp_path / "new")) == (0, "", "")
    assert (tmp_path / "new" / files.SCHEMA).read_bytes() == files.read(files.SCHEMA)


async def test_encodings_that_a_client_does_not_speak() -> None:
    with pytest.raises(CannotRun, match="there is no encoding"):
        await certify(PYTHON, "joins", encodings=())
    report = await certify(PYTHON, "joins", encodings=("msgpack",))
    [failure] = failures(report)
    assert failure.did == "doesn't offer the subprotocol 'squire.v1+msgpack'"


async def test_a_client_that_connects_by_itself() -> None:
    """It has its lines over a WebSocket; when it has failed a story, it comes again."""
    told: list[str] = []
    urls: list[str] = []

    def page() -> None:
        for _ in range(3):
            with connect(urls[0], proxy=None) as lines:
                lines.send('{"report": "ready", "name": "a page"}')
                told.append(json.loads(lines.recv())["do"])
                lines.send("nonsense")
                # More orders may have come; then it is closed.
                assert all(json.loads(line)["do"] for line in lines)

    stories = [STORIES["joins"], STORIES["submits"], STORIES["goes-on"]]
    async with trio.open_nursery() as nursery:

        def waits(url: str) -> None:
            urls.append(url)
            nursery.start_soon(trio.to_thread.run_sync, page)

        report = await run(Plan(stories, watch=0.1), None, ("127.0.0.1", 0), lambda _: None, waits)
    assert report.client == "a page"
    assert [one.outcome for one in report.results] == ["failed"] * 3
    assert all("is no report: 'nonsense'" in str(one.did) for one in report.results)
    assert told == ["join"] * 3
    assert urls[0].endswith("/control")
