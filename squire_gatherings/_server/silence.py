"""Silence: who is to be pinged, and who is gone, told the rounds of the keep-alive.

Told in rounds and not in seconds: time in which no round took place, because the machine was paused
or busy, is held against nobody.
"""

from enum import Enum

ROUNDS = 4
"""How many rounds make up the interval of the pings."""

MAX_CREDIT = 3 * ROUNDS
"""For how many rounds of a moving backlog a client is given as many more."""


class Due(Enum):
    """What a round finds is due."""

    NOTHING = 0
    PING = 1
    END = 2


class Silence:
    """How long a connection was silent, in either direction.

    It's pinged after an interval of silence in one of them, and at its end when nothing came for
    an interval after that. Every client answers pings by itself, but not before it has read what
    was sent before: while a backlog moves, the client is alive, and for as long again, since what
    has moved lies in buffers of the network.
    """

    __slots__ = ("_backlog", "_credit", "_progress", "_unheard", "_unsaid", "heard")

    def __init__(self) -> None:
        self.heard = True
        """Whether anything came since the last round."""
        self._unheard = self._unsaid = 0
        self._progress = self._backlog = self._credit = 0

    def round(self, progress: int, backlog: int, *, listened: bool) -> Due:
        """One round is over; say what is due.

        `progress` are the bytes that ever went out, `backlog` those that wait; `listened` says
        whether something could be heard in it.
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
