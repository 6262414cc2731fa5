"""Killing: the end of servers by SIGKILL in the middle of a load."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from tests.forked import Forked


class Loading(Protocol):
    """Somebody who puts a load on a server, in a thread."""

    @property
    def failures(self) -> Sequence[object]:
        """What was wrong."""

    def live(self, url: str) -> None:
        """Go on until the server is gone."""


def kill_under_load(
    people: Sequence[Loading],
    url: str,
    process: Forked,
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
    process.kill()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    failures = [failure for one in people for failure in one.failures]
    assert not failures, failures[:3]
