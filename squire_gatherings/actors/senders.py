"""Whoever sends a gathering a message, and how it gets its answer."""

import logging
from typing import ClassVar

import trio
from attrs import define, field

from squire_gatherings.actors.connection import Connection
from squire_gatherings.rules.delivery_window import DeliveryWindow
from squire_gatherings.rules.op_log import NO_ORIGIN
from squire_gatherings.values.endings import CloseCode
from squire_gatherings.values.errors import GatheringsError
from squire_gatherings.values.identity import Identity
from squire_gatherings.values.messages import Error, ServerMessage
from squire_gatherings.values.outgoing import Outgoing

_log = logging.getLogger(__name__)


def sync_scope(user: str | None, client: str | None) -> str:
    """Return whose sync ids these are: ids are unique for one user and client."""
    return f"{len(user or '')}:{user or ''}:{client or ''}"


@define(eq=False)
class Caller:
    """A task that asks and waits for its answer; it has no connection."""

    identity: Identity
    scope: str
    number: int = NO_ORIGIN
    at_end: bool = False
    """Whether its sync builds on whatever the log's end is when it is processed."""
    begun: set[trio.CancelScope] | None = None
    """What was begun for it and isn't over."""
    _outcome: ServerMessage | GatheringsError | None = None
    _answered: trio.Event = field(factory=trio.Event)

    def answer(self, message: ServerMessage) -> None:
        """Wake the task with its answer; only the first counts."""
        if self._outcome is None:
            self._outcome = message
            self._answered.set()

    def fail(self, error: GatheringsError, request_id: str | None = None) -> None:
        """Wake the task with an error; only the first outcome counts."""
        if self._outcome is None:
            self._outcome = error
            self._answered.set()

    def again(self) -> "Caller":
        """Return one who asks the same of the next incarnation."""
        return Caller(self.identity, self.scope, at_end=self.at_end)

    async def wait(self) -> ServerMessage:
        """Wait for the answer, or raise the error. Cancelling leaves the request under way."""
        await self._answered.wait()
        if isinstance(self._outcome, GatheringsError):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


@define(eq=False)
class Onlooker:
    """One connected client of one incarnation."""

    at_end: ClassVar[bool] = False
    number: int
    connection: Connection
    identity: Identity
    client: str | None
    scope: str
    window: DeliveryWindow
    waiting: int = 0
    """How many of its messages lie in the inbox."""
    attached: bool = False
    paging: bool = False
    """Whether a task brings it ops from the store."""
    room: trio.Event | None = None
    asked: int = 0
    """Its place in the order in which the hall's joins were asked for."""
    cost: int = 0
    """What its messages in the inbox cost in memory, or did since there were none."""
    begun: set[trio.CancelScope] | None = None
    """What was begun for it and isn't over."""

    def send(self, outgoing: Outgoing) -> None:
        """Hand a message to the connection; a connection that raises is only lost itself."""
        try:
            self.connection.send(outgoing)
        except Exception:
            self._log_failure("send")

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the connection, likewise."""
        try:
            self.connection.close(code, reason)
        except Exception:
            self._log_failure("close")

    async def flush(self) -> None:
        """Wait until the connection's backlog is gone, likewise."""
        try:
            await self.connection.flush()
        except Exception:
            self._log_failure("flush")

    def read_arrived(self) -> None:
        """Let the connection take in what has arrived, likewise."""
        try:
            self.connection.read_arrived()
        except Exception:
            self._log_failure("read_arrived")

    def answer(self, message: ServerMessage) -> None:
        """Send the answer to a request of this onlooker."""
        if not self.attached:
            return
        try:
            self.connection.send_soon(Outgoing(message))
        except Exception:
            self._log_failure("send_soon")

    def fail(self, error: GatheringsError, request_id: str | None = None) -> None:
        """Tell the onlooker that its request failed."""
        self.answer(Error(error.code, str(error), request_id))

    def _log_failure(self, what: str) -> None:
        _log.exception("a connection's %s raised", what, extra={"onlooker": self.number})

    def make_room(self) -> None:
        """Whoever waits to put a message into the inbox may look again."""
        if self.room is not None:
            self.room.set()
            self.room = None


Sender = Caller | Onlooker
