"""The ping proof: a pong proves that the acknowledgement before its ping was processed.

An acknowledgement counts as activity, but has no answer. So a ping, which is no activity, goes
with the last ones.
"""

MARGIN = 0.1
"""Seconds. Around the point of no return, a pong may still come after the last message counted:
one that came in that moment proves nothing."""


class PingProof:
    """One client's ping, if one is under way. Times are of `time.monotonic`."""

    __slots__ = ("_ping_sent", "_pong_at")

    def __init__(self) -> None:
        self._ping_sent: float | None = None
        self._pong_at = 0.0

    @property
    def is_awaited(self) -> bool:
        """Whether a ping was sent that has proved nothing yet."""
        return self._ping_sent is not None

    def pinged(self, now: float) -> None:
        """A ping goes with an acknowledgement."""
        self._ping_sent, self._pong_at = now, 0.0

    def ponged(self, now: float) -> None:
        """The pong came."""
        self._pong_at = now

    def forget(self) -> None:
        """A new connection begins, on which no ping is under way."""
        self._ping_sent = None

    def take(self, now: float) -> float | None:
        """Return when the message was sent that is proven to be processed; None: none is yet.

        Each proof is returned once.
        """
        if self._ping_sent is None or not 0 < self._pong_at < now - MARGIN:
            return None
        sent, self._ping_sent = self._ping_sent, None
        return sent
