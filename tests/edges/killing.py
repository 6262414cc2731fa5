"""Killing: servers that a forker starts, and their end by SIGKILL in the middle of a load."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from subprocess import Popen
from typing import Protocol

from tests.cli.process import READY


class Loading(Protocol):
    """Somebody who puts a load on a server, in a thread."""

    @property
    def failures(self) -> Sequence[object]:
        """What was wrong."""

    def live(self, url: str) -> None:
        """Go on until the server is gone."""


@contextmanager
def serving(forker: Popen[str], arguments: list[str]) -> Iterator[tuple[int, str]]:
    """Have a server forked; give its process id and URL; kill it at the end."""
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(json.dumps(arguments) + "\n")
    forker.stdin.flush()
    pid = int(forker.stdout.readline())
    try:
        line = forker.stdout.readline()
        assert line.startswith(READY), line
        yield pid, line.removeprefix(READY).strip()
    finally:
        os.kill(pid, signal.SIGKILL)


def kill_under_load(
    people: Sequence[Loading],
    url: str,
    pid: int,
    *,
    until: Callable[[], bool],
    pause: Callable[[], float],
) -> None:
    """Have all load the server, and kill it a pause after enough was done."""
    threads = [threading.Thread(target=one.live, args=[url], daemon=True) for one in people]
    for thread in threads:
        thread.start()
    while not until():
        assert any(thread.is_alive() for thread in threads), "nobody goes on any more"
        threads[0].join(0.0005)
    threads[0].join(pause())
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    failures = [failure for one in people for failure in one.failures]
    assert not failures, failures[:3]
