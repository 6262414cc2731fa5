"""How a client stands with its gathering: what it has asked for, and what may follow.

The server may end a connection in two ways only: with a notice and then 4001, or with 1000 where
the client asked to leave. Everything else is a violation.
"""

from enum import Enum, auto
from time import monotonic

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.checks.incarnation import Incarnation
from squire_gatherings._load.clients.context import ProcessContext

DISPERSED = 4001
LEFT = 1000


class State(Enum):
    """How a client stands."""

    AWAY = auto()
    JOINING = auto()
    JOINED = auto()
    LEAVING = auto()
    NOTICED = auto()
    """It was told that the gathering ended; a close frame must follow."""
    CLOSED = auto()
    """The close frame came; nothing may follow."""


class Standing:
    """The state of one client, counted in its process. Times are of `time.monotonic`."""

    __slots__ = ("_context", "asked_at", "incarnation", "state")

    def __init__(self, context: ProcessContext) -> None:
        self._context = context
        self.state = State.AWAY
        self.incarnation: Incarnation | None = None
        """The incarnation that it has joined on the present connection."""
        self.asked_at = 0.0
        """When it asked for what it waits for: to be joined, let go or closed."""

    def connecting(self) -> None:
        """It connects, to join."""
        self.state = State.JOINING
        self.asked_at = monotonic()
        self._context.opening += 1

    def joined(self, incarnation: Incarnation) -> None:
        """It has joined an incarnation."""
        self.state = State.JOINED
        self._context.opening -= 1
        self._context.connected += 1
        self.incarnation = incarnation
        incarnation.members += 1
        incarnation.was_processed(self.asked_at)

    def leaving(self) -> None:
        """It asks to leave."""
        assert self.incarnation is not None
        self.asked_at = self.incarnation.sent = monotonic()
        self._no_member(State.LEAVING)

    def noticed(self, now: float) -> None:
        """It was given notice."""
        self.asked_at = now
        self._no_member(State.NOTICED)

    def closing(self, code: int) -> None:
        """The server's close frame came.

        Raises:
            Finding: It may not close now, or not with this code.
        """
        before = self.state
        self._no_member(State.CLOSED)
        if before is State.NOTICED:
            if code != DISPERSED:
                raise Finding(Kind.CLOSED, f"the notice was followed by close code {code}")
        elif before is State.CLOSED:
            raise Finding(Kind.AFTER_NOTICE, "a second close frame")
        elif before is State.LEAVING:
            if code != LEFT:
                raise Finding(Kind.CLOSED, f"leaving was answered with close code {code}")
            # Only a member is told so: the gathering processed our leaving.
            if self.incarnation is not None:
                self.incarnation.was_processed(self.asked_at)
        else:
            kind = Kind.NO_NOTICE if code == DISPERSED else Kind.CLOSED
            raise Finding(kind, f"closed with {code} without a notice")

    def cut_off(self, why: str) -> None:
        """The connection is over without our doing; `gone` must follow.

        Raises:
            Finding: It may not end now.
        """
        if self.state is State.JOINING:
            raise Finding(Kind.CONNECT, why)
        if self.state is State.NOTICED:
            raise Finding(Kind.CLOSED, f"no close frame after the notice: {why}")
        if self.state is State.JOINED:
            raise Finding(Kind.CLOSED, f"cut off without a notice: {why}")

    def gone(self) -> None:
        """It has no connection any more."""
        self._no_member(State.AWAY)
        self.incarnation = None

    def is_overdue(self, now: float, patience: float) -> bool:
        """Whether it has waited for the server for more than `patience` seconds."""
        asked = self.state in (State.JOINING, State.LEAVING, State.NOTICED, State.CLOSED)
        return asked and now - self.asked_at > patience

    def _no_member(self, state: State) -> None:
        if self.state is State.JOINED:
            assert self.incarnation is not None
            self.incarnation.members -= 1
            self._context.connected -= 1
        elif self.state is State.JOINING:
            self._context.opening -= 1
        self.state = state
