"""Silence: which client is to be pinged, and which is gone.

It counts rounds of the keep-alive, not seconds. So time in which no round took place, because the
machine was paused or busy, is held against nobody.
"""

from enum import Enum

ROUNDS = 4
"""How many rounds there are in one interval of the pings."""

MAX_CREDIT = 3 * ROUNDS
"""A client whose backlog moved in some rounds may be silent in as many more, but not in more than
these."""


class Due(Enum):
    """What is to be done after a round."""

    NOTHING = 0
    PING = 1
    END = 2


class Silence:
    """How long a connection was silent, in either direction.

    After an interval of silence in one of them the client is pinged; if nothing comes from it for
    another interval, it is gone. Every WebSocket client answers pings by itself, but not before it
    has read what was sent before. So a client whose backlog moves is alive, and is given as much
    time again, since what has moved may lie in buffers of the network.
    """

    __slots__ = ("_backlog", "_credit", "_progress", "_unheard", "_unsaid", "heard")

    def __init__(self) -> None:
        self.heard = True
        """Whether anything came since the last round."""
        self._unheard = self._unsaid = 0
        self._progress = self._backlog = self._credit = 0

    def round(self, progress: int, backlog: int, *, listened: bool) -> Due:
        """Note that a round is over; return what is due.

        Args:
            progress: How many bytes have gone out so far.
            backlog: How many bytes wait.
            listened: Whether something could be heard in this round.
        """
        moved = progress != self._progress
        before = self._unheard
        if moved and self._backlog:
            self._credit = min(self._credit + 1, MAX_CREDIT)
            self._unheard = 0
        elif self.heard:
            self._unheard = self._credit = 0
        elif not listened:
            self._unheard = 0
        elif self._credit and self._unheard == ROUNDS:
            self._credit -= 1
        else:
            self._unheard += 1
        self._unsaid = 0 if moved else self._unsaid + 1
        self.heard = False
        self._progress, self._backlog = progress, backlog
        if self._unheard >= 2 * ROUNDS:
            return Due.END
        if self._unsaid >= ROUNDS or before < self._unheard == ROUNDS:
            self._unsaid = 0
            return Due.PING
        return Due.NOTHING
