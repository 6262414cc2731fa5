"""Closed, full or unusual standard streams: a command says one line, or nothing."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import PATIENCE

PROGRAM = shlex.join([sys.executable, "-m", "squire_gatherings"])
DEAD = "ws://127.0.0.1:1 friday"


def run(script: str, folder: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        ["sh", "-c", script.replace("PROGRAM", PROGRAM)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("PROGRAM >&-", 0, ""),
        ("PROGRAM help serve >&-", 0, ""),
        ("PROGRAM --version >&- 2>&-", 0, ""),
        ("PROGRAM nope 2>&-", 2, ""),
        (f"PROGRAM submit {DEAD} '{{}}' --timeout 1s 2>&-", 2, ""),
        (f"PROGRAM submit {DEAD} - <&-", 2, "OP is not JSON"),
        (f"printf '\\377' | PROGRAM submit {DEAD} -", 2, "OP is not JSON"),
        ("PROGRAM delete rooms.sqlite3 '*' <&-", 2, "nobody is there to be asked"),
        ("PROGRAM backup a b 2>&-", 2, ""),
        (f"PROGRAM watch {DEAD} 2>&-", 2, ""),
    ],
)
def test_a_closed_stream_leads_nowhere(script: str, code: int, says: str, tmp_path: Path) -> None:
    returned, out, err = run(script, tmp_path)
    assert (returned, out) == (code, "")
    assert says in err
    assert err.count("\n") == bool(says)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no full device")
@pytest.mark.parametrize("arguments", ["", "--version", "help load"])
def test_a_full_disk_is_said_in_one_line(arguments: str, tmp_path: Path) -> None:
    code, _, err = run(f"PROGRAM {arguments} >/dev/full", tmp_path)
    assert code == 2
    assert err == "squire_gatherings: error: can't write: No space left on device\n"
    assert run("PROGRAM nope 2>/dev/full", tmp_path)[0] == 2


def test_serve_without_any_stream_stops_in_order(tmp_path: Path) -> None:
    script = f"exec {PROGRAM} serve --port 0 --store sqlite:///rooms.sqlite3 <&- >&- 2>&-"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path) as process:
        try:
            while not (tmp_path / "rooms.sqlite3-wal").exists():
                assert process.poll() is None
            # Python's own handler of SIGINT is there from the beginning; a stop is one, too.
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE) in (0, 130)
        finally:
            process.kill()
