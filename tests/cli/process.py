"""The command line for tests: a serving process on a port of its own choice, and other commands.

A command that needs no process of its own runs in this one: a start costs half a second.
"""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from squire_gatherings._cli.cli import main

READY = "squire_gatherings listening on "

PATIENCE = 120.0
"""How many seconds a process may take that isn't stuck: the machine may have much else to do."""


def run_here(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code and what it printed."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with (
        chdir(cwd or Path.cwd()),
        patch.object(sys, "argv", ["squire-gatherings", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    out.flush()
    code = ended.value.code
    assert isinstance(code, int)
    return code, out.buffer.getvalue().decode(), err.getvalue()


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `serve`, wait for its one line, give the process and the URL; kill it at the end."""
    command = [sys.executable, "-m", "squire_gatherings", "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(READY):
                process.kill()
                raise RuntimeError(f"{line!r}, {process.communicate()}")
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()
