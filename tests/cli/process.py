"""A serving process for tests: the real program, on a port of its own choice."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

READY = "squire_gatherings listening on "


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
