"""Patience: how long a client waits for a server. Bytes that move are progress."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import define, field

SLOWEST = 100
"""So many bytes a second are progress; fewer are a server that holds us up on purpose."""

LATE = 1.0
"""A timer that fires so late (in seconds) says nothing about the server."""


@define(eq=False)
class _Wait:
    scope: trio.CancelScope
    seconds: float
    began: float
    moved: int = 0


@define(eq=False)
class Patience:
    """The waits on one connection, all of which go on while bytes move on it."""

    _waits: list[_Wait] = field(factory=list)

    @contextmanager
    def wait(self, seconds: float, until: float | None = None) -> Iterator[trio.CancelScope]:
        """Cancel the block once nothing has moved for so many seconds.

        If nothing moves at all, it is cancelled at `until`, should that be sooner.
        """
        now = trio.current_time()
        deadline = now + seconds if until is None else min(now + seconds, until)
        with trio.CancelScope(deadline=deadline) as scope:
            wait = _Wait(scope, seconds, now)
            self._waits.append(wait)
            try:
                yield scope
            finally:
                self._waits.remove(wait)

    def moved(self, count: int) -> None:
        """So many bytes have come, or have gone."""
        for wait in self._waits:
            now = trio.current_time()
            if now > wait.scope.deadline + LATE:
                # It's over, and is to be seen to be so late.
                continue
            wait.moved += count
            slowest = wait.began + wait.moved / SLOWEST
            later = min(now, slowest) + wait.seconds
            wait.scope.deadline = max(wait.scope.deadline, later)
