"""Slow readers: clients that make trouble by reading little or nothing.

They may be closed as unresponsive (4008), and nobody checks what they get; they must
harm nobody else. Half of them read nothing at all after `joined`; the others sip, and
acknowledge what they have sipped.
"""

from time import monotonic
from typing import TYPE_CHECKING

from squire_gatherings._load import frames, messages
from squire_gatherings._load.life import Life
from squire_gatherings._load.link import Link

if TYPE_CHECKING:
    from squire_gatherings._load.crowd import Crowd

UNRESPONSIVE = 4008
RECEIVE_BUFFER = 4096
SIP = 64
SIP_EVERY = 0.5
LOOK_AFTER = 12.0
"""Seconds after which one looks up what has become of it; the server gives up after 10."""

LOOK_FOR = 1.0


class SlowReader:
    """One of them. Comes back after it was closed, while the load lasts."""

    __slots__ = (
        "_asked_at",
        "_crowd",
        "_joined",
        "_life",
        "_link",
        "_looking",
        "_number",
        "_sips",
        "client",
    )

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self._crowd = crowd
        self.client = f"{crowd.name}-{number}"
        self._number = number
        self._sips = number % 2 == 0
        self._link: Link | None = None
        self._life: Life | None = None
        self._joined = False
        self._looking = False
        self._asked_at = 0.0

    def arrive(self) -> None:
        """Connect and join, unless it's there."""
        workshop = self._crowd.workshop
        if workshop.stopping or self._link is not None:
            return
        self._looking = self._joined = False
        path = f"/gatherings/{self._crowd.name}"
        address = (workshop.plan.host, workshop.plan.port)
        try:
            self._link = Link(workshop.poller, address, path, self, receive_buffer=RECEIVE_BUFFER)
        except OSError:
            return

    def cut(self) -> None:
        """End the connection without a word."""
        if self._link is not None:
            self._link.close()
            self._link = None
            if self._joined:
                self._crowd.workshop.connected -= 1
                self._joined = False

    def opened(self) -> None:
        """Join, with nothing yet."""
        assert self._link is not None
        self._asked_at = monotonic()
        self._link.send(frames.text(messages.join(self.client, 0)))

    def message(self, payload: bytes, now: float) -> None:
        """Take in `joined`, and hardly anything else."""
        assert self._link is not None
        try:
            message = messages.DECODE(payload)
        except ValueError:
            return
        if isinstance(message, messages.Joined):
            if self._life is None:
                self._crowd.workshop.came(self._number)
            self._joined = True
            workshop = self._crowd.workshop
            workshop.connected += 1
            workshop.tally.counts["joins"] += 1
            self._life = self._crowd.life(message.incarnation, message.idle_timeout)
            self._life.was_processed(self._asked_at)
            self._link.pause()
            workshop.agenda.at(now + LOOK_AFTER, self._look)
            if self._sips:
                workshop.agenda.at(now + SIP_EVERY, self._sip)
        elif isinstance(message, messages.Forward) and not self._looking:
            self._ack(message.seq + len(message.ops or (None,)) - 1)

    def ponged(self) -> None:
        """It pings nobody."""

    def closing(self, code: int, now: float) -> None:
        """Closed, as it must expect."""
        if code == UNRESPONSIVE:
            self._crowd.workshop.tally.counts["slow_closed"] += 1

    def ended(self, why: str) -> None:
        """Come back while the load lasts."""
        self.cut()
        self.arrive_again()

    def arrive_again(self) -> None:
        """Come back, if there's still something going on."""
        if not self._crowd.is_over:
            self._crowd.workshop.agenda.at(monotonic() + LOOK_FOR, self.arrive)

    def _ack(self, seq: int) -> None:
        assert self._link is not None
        if self._life is not None and not self._crowd.is_over:
            self._life.sent = monotonic()
            self._link.send(frames.text(messages.ack(seq)))

    def _sip(self) -> None:
        if self._link is not None and not self._looking and not self._crowd.is_over:
            self._link.sip(SIP)
            self._crowd.workshop.agenda.at(monotonic() + SIP_EVERY, self._sip)

    def _look(self) -> None:
        """Read what came meanwhile, to see whether we were closed, and begin anew."""
        if self._link is None or self._crowd.is_over:
            return
        self._looking = True
        self._link.resume()
        self._crowd.workshop.agenda.at(monotonic() + LOOK_FOR, self._looked)

    def _looked(self) -> None:
        if self._link is not None and self._looking:
            self.cut()
            self.arrive_again()
