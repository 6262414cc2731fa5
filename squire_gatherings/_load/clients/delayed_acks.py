"""Delayed acknowledgements: one for everything that came within a short time."""

from collections import deque
from time import monotonic
from typing import Protocol

import trio

DELAY = 0.08
"""Seconds from a forward to its acknowledgement, which must be sent within 100 ms."""

SLACK = 0.005
"""Seconds: an acknowledgement that is due so soon is sent together with one that is due."""


class Acknowledger(Protocol):
    """A client that acknowledges a little later than it got something."""

    def acknowledge(self, now: float) -> None:
        """Acknowledge everything that came until `now`. Mustn't wait."""


class DelayedAcks:
    """The clients of one process that have something to acknowledge."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Acknowledger]] = deque()
        self._some_wait = trio.Event()

    def soon(self, client: Acknowledger, now: float) -> None:
        """Let a client acknowledge `DELAY` after `now`. Calls come in the order of time."""
        self._waiting.append((now + DELAY, client))
        if len(self._waiting) == 1:
            self._some_wait.set()

    async def run(self) -> None:
        """Let each client acknowledge when it's due, until cancelled.

        Cancellation: those that aren't due yet stay.
        """
        waiting = self._waiting
        while True:
            if not waiting:
                self._some_wait = trio.Event()
                await self._some_wait.wait()
            await trio.sleep(max(0.0, waiting[0][0] - monotonic()))
            now = monotonic()
            while waiting and waiting[0][0] <= now + SLACK:
                waiting.popleft()[1].acknowledge(now)
