"""Slow readers: clients that make trouble by reading little or nothing.

They may be closed as unresponsive (4008), and nobody checks what they get; but they must harm
nobody else. Half of them read nothing at all after `joined`. The others sip: they read a few bytes
now and then, and acknowledge what they have read.
"""

from time import monotonic
from typing import Protocol

from squire_gatherings._load.checks.incarnation import Incarnation
from squire_gatherings._load.clients import frames, messages
from squire_gatherings._load.clients.context import ProcessContext
from squire_gatherings._load.clients.link import Link

UNRESPONSIVE = 4008
RECEIVE_BUFFER = 4096
SIP = 64
SIP_EVERY = 0.5
LOOK_AFTER = 12.0
"""Seconds after which a slow reader looks whether it was closed; the server gives up after 10."""

LOOK_FOR = 1.0


class SlowReaderCrowd(Protocol):
    """What a slow reader needs of the crowd it belongs to."""

    context: ProcessContext
    name: str
    """The gathering's id."""

    @property
    def is_over(self) -> bool:
        """Whether no op will be due any more."""

    def incarnation(self, id_: str, idle_timeout: float) -> Incarnation:
        """Return the incarnation that the slow reader has joined."""


class SlowReader:
    """One client. It comes back after it was closed, while the load lasts."""

    __slots__ = (
        "_asked_at",
        "_crowd",
        "_incarnation",
        "_joined",
        "_link",
        "_looking",
        "_number",
        "_sips",
        "client",
    )

    def __init__(self, crowd: SlowReaderCrowd, number: int) -> None:
        self._crowd = crowd
        self.client = f"{crowd.name}-{number}"
        self._number = number
        self._sips = number % 2 == 0
        self._link: Link | None = None
        self._incarnation: Incarnation | None = None
        self._joined = False
        self._looking = False
        self._asked_at = 0.0

    def arrive(self) -> None:
        """Connect and join, unless it's there."""
        context = self._crowd.context
        if context.stopping or self._link is not None:
            return
        self._looking = self._joined = False
        path = f"/gatherings/{self._crowd.name}"
        address = (context.plan.host, context.plan.port)
        try:
            self._link = Link(context.poller, address, path, self, receive_buffer=RECEIVE_BUFFER)
        except OSError:
            return

    def cut(self) -> None:
        """End the connection without a word."""
        if self._link is not None:
            self._link.close()
            self._link = None
            if self._joined:
                self._crowd.context.connected -= 1
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
            if self._incarnation is None:
                self._crowd.context.came(self._number)
            self._joined = True
            context = self._crowd.context
            context.connected += 1
            context.counters.counts["joins"] += 1
            self._incarnation = self._crowd.incarnation(message.incarnation, message.idle_timeout)
            self._incarnation.was_processed(self._asked_at)
            self._link.pause()
            context.schedule.at(now + LOOK_AFTER, self._look)
            if self._sips:
                context.schedule.at(now + SIP_EVERY, self._sip)
        elif isinstance(message, messages.Forward) and not self._looking:
            self._ack(message.seq + len(message.ops or (None,)) - 1)

    def ponged(self) -> None:
        """It pings nobody."""

    def closing(self, code: int, now: float) -> None:
        """It was closed, as it must expect."""
        if code == UNRESPONSIVE:
            self._crowd.context.counters.counts["slow_closed"] += 1

    def ended(self, why: str) -> None:
        """Come back while the load lasts."""
        self.cut()
        self.arrive_again()

    def arrive_again(self) -> None:
        """Come back, if there's still something going on."""
        if not self._crowd.is_over:
            self._crowd.context.schedule.at(monotonic() + LOOK_FOR, self.arrive)

    def _ack(self, seq: int) -> None:
        assert self._link is not None
        if self._incarnation is not None and not self._crowd.is_over:
            self._incarnation.sent = monotonic()
            self._link.send(frames.text(messages.ack(seq)))

    def _sip(self) -> None:
        if self._link is not None and not self._looking and not self._crowd.is_over:
            self._link.sip(SIP)
            self._crowd.context.schedule.at(monotonic() + SIP_EVERY, self._sip)

    def _look(self) -> None:
        """Read what came meanwhile, to see whether we were closed, and begin anew."""
        if self._link is None or self._crowd.is_over:
            return
        self._looking = True
        self._link.resume()
        self._crowd.context.schedule.at(monotonic() + LOOK_FOR, self._looked)

    def _looked(self) -> None:
        if self._link is not None and self._looking:
            self.cut()
            self.arrive_again()
