"""Whoever sends a gathering a message, and how it gets its answer."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, ClassVar

import trio
from attrs import define, field

from squire_gatherings._hall.connection import Connection
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._rules.op_log import NO_ORIGIN
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Error, ServerMessage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.text import sayable

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
    is_gone: bool = False
    """Whether nobody waits for the answer any more."""
    _begun: trio.CancelScope | None = None
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

    @contextmanager
    def under_way(self) -> Iterator[trio.CancelScope]:
        """Cancel what runs inside when nobody waits for the answer any more."""
        with trio.CancelScope() as scope:
            if self.is_gone:
                scope.cancel()
            self._begun = scope
            try:
                yield scope
            finally:
                self._begun = None

    def gone(self) -> None:
        """Nobody waits for the answer any more: end what goes on for it."""
        self.is_gone = True
        if self._begun is not None:
            self._begun.cancel()

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


class Paging(IntEnum):
    """What a task does that brings an onlooker ops from the store."""

    NO = 0
    READING = 1
    SENDING = 2


@define(eq=False)
class Onlooker:
    """One connected client of one incarnation, and the guard before its connection.

    Everything that is asked of a connection goes through here. One that raises, or returns what
    it mustn't, is lost at once, and only itself: that is logged, it is aborted and
    forgotten, and nothing more is asked of it.
    """

    at_end: ClassVar[bool] = False
    number: int
    connection: Connection
    identity: Identity
    client: str | None
    scope: str
    window: DeliveryWindow
    waiting: int = 0
    """How many of its messages lie in the inbox or aren't answered yet."""
    cost: int = 0
    """What those in the inbox take in memory, in bytes."""
    asked: int = 0
    """When it asked to join, as a number that grows with each join; 0 if that isn't known."""
    was_crashed: bool = False
    """Whether its incarnation ended by a crash: what it had sent before may be lost."""
    joined_at: int = 0
    """The log's end when it joined: what was logged up to there is brought to it as ops."""
    attached: bool = False
    paging: Paging = Paging.NO
    room: trio.Event | None = None
    held: list[tuple[range, ServerMessage]] | None = None
    """Answers that tell it of its own ops, and must wait until it has what comes before."""
    on_lost: Callable[["Onlooker"], None] | None = None
    """Called when the connection fails; there while attached."""
    _begun: set[trio.CancelScope] | None = None

    # What is asked of the connection.

    def send(self, outgoing: Outgoing) -> None:
        """Hand a message to the connection."""
        try:
            self.connection.send(outgoing)
        except Exception:
            self._lost("send")

    def answer(self, message: ServerMessage) -> None:
        """Send the answer to a request of this onlooker."""
        if not self.attached:
            return
        try:
            self.connection.send_soon(Outgoing(message))
        except Exception:
            self._lost("send_soon")

    def fail(self, error: GatheringsError, request_id: str | None = None) -> None:
        """Tell the onlooker that its request failed."""
        self.answer(Error(error.code, sayable(error), request_id))

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the connection after what was sent."""
        try:
            self.connection.close(code, reason)
        except Exception:
            self._lost("close")

    def abort(self) -> None:
        """Drop the connection at once."""
        try:
            self.connection.abort()
        except Exception:
            self._lost("abort")

    def read_arrived(self) -> None:
        """Have the connection take in what has arrived."""
        try:
            self.connection.read_arrived()
        except Exception:
            self._lost("read_arrived")

    @property
    def receiving(self) -> int:
        """How many bytes have come of a message whose rest hasn't come yet."""
        return self._number("receiving", lambda connection: connection.receiving)

    async def flush(self) -> None:
        """Wait until the connection's backlog is gone. Cancelling it changes nothing."""
        try:
            await self.connection.flush()
        except* Exception:
            self._lost("flush")

    @property
    def backlog(self) -> int:
        """How many bytes of what was sent still wait in this process."""
        return self._number("backlog", lambda connection: connection.backlog)

    @property
    def progress(self) -> int:
        """How many bytes have gone out so far."""
        return self._number("progress", lambda connection: connection.progress)

    @property
    def in_transit(self) -> int:
        """How many bytes of what was sent are still to go."""
        return self._number("in_transit", lambda connection: connection.in_transit)

    def _number(self, what: str, ask: Callable[[Connection], Any]) -> int:
        try:
            value = ask(self.connection)
            if not isinstance(value, int):
                raise TypeError(f"{what} is an int, not {type(value).__name__}")
        except Exception:
            self._lost(what)
            return 0
        return value

    def _lost(self, what: str) -> None:
        _log.exception("a connection's %s raised", what, extra={"onlooker": self.number})
        connection, self.connection = self.connection, _GONE
        try:
            connection.abort()
        except Exception as error:
            _log.debug("its abort raised, too: %r", error, extra={"onlooker": self.number})
        if self.on_lost is not None:
            self.on_lost(self)

    # What goes on for it.

    @contextmanager
    def under_way(self) -> Iterator[trio.CancelScope]:
        """Cancel what runs inside when the onlooker is detached; at once, if it isn't attached."""
        with trio.CancelScope() as scope:
            if not self.attached:
                scope.cancel()
            if self._begun is None:
                self._begun = set()
            self._begun.add(scope)
            try:
                yield scope
            finally:
                self._begun.discard(scope)
                if not self._begun:
                    self._begun = None

    def left(self) -> None:
        """It isn't attached any more: end what goes on for it."""
        self.attached = False
        self.on_lost = None
        self.held = None
        for scope in self._begun or ():
            scope.cancel()
        self.make_room()

    def make_room(self) -> None:
        """Whoever waits to put a message into the inbox may look again."""
        if self.room is not None:
            self.room.set()
            self.room = None


class _Gone(Connection):
    """In place of a connection that failed: nothing goes anywhere."""

    __slots__ = ()

    def send(self, outgoing: Outgoing) -> None:
        pass

    def close(self, code: CloseCode, reason: str) -> None:
        pass


_GONE = _Gone()

Sender = Caller | Onlooker
