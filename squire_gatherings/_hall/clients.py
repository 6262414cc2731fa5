"""Clients and callers: who sends a gathering messages, and how each of them is answered."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar, Protocol

import outcome
import trio
from attrs import define, field

from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.guard import GONE, Guard, checked
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.extras import PLAIN, Extras
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Error, ServerMessage
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.text import sayable

_log = logging.getLogger(__name__)


def sync_scope(user: str | None, client: str | None) -> str:
    """Return the scope of a user's client: its sync ids are unique within it."""
    return f"{len(user or '')}:{user or ''}:{client or ''}"


@define(eq=False)
class Caller:
    """A task that asks and waits for its answer; it has no connection."""

    identity: Identity
    scope: str = field(repr=False)
    proof: ClassVar[bool] = False
    number: int = 0
    """It is none of the clients, which are numbered from 1 on."""
    at_end: bool = False
    """Whether its sync builds on the log's end as it is when the sync is processed."""
    extras: Extras = PLAIN
    """What it's told of ops besides them."""
    is_gone: bool = False
    """Whether nobody waits for the answer any more."""
    _begun: trio.CancelScope | None = None
    _outcome: outcome.Outcome[ServerMessage] | None = None
    _answered: trio.Event = field(factory=trio.Event)

    def answer(self, message: ServerMessage) -> None:
        """Wake the task with its answer; only the first outcome counts."""
        self._come_to(outcome.Value(message))

    def fail(self, error: GatheringsError, request_id: str | None = None) -> None:
        """Wake the task with an error; only the first outcome counts."""
        self._come_to(outcome.Error(error))

    def wasted(self, cost: int) -> None:
        """A task that waits for each answer sends little for nothing."""

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
        """Note that nobody waits for the answer any more, and end what works for it."""
        self.is_gone = True
        if self._begun is not None:
            self._begun.cancel()

    def again(self) -> "Caller":
        """Return a caller that asks the next incarnation the same."""
        return Caller(self.identity, self.scope, at_end=self.at_end, extras=self.extras)

    async def wait(self) -> ServerMessage:
        """Wait for the answer, or raise the error.

        Cancellation: the request is still under way.
        """
        await self._answered.wait()
        assert self._outcome is not None
        return self._outcome.unwrap()

    def _come_to(self, result: outcome.Outcome[ServerMessage]) -> None:
        if self._outcome is None:
            self._outcome = result
            self._answered.set()


class Attended(Protocol):
    """What clients attend, and what forgets them: a room, or one that sleeps."""

    @property
    def accepting(self) -> bool:
        """Whether messages may be put in. One that sleeps must be roused before."""

    def gone(self, client: "Client") -> None:
        """Note that a client's connection has failed."""
        ...

    def rights_changed(self, client: "Client") -> None:
        """Note that a client's rights have ended, or were renewed."""
        ...


class Paging(IntEnum):
    """What the task does that brings a client ops from the store, if there is one."""

    NO = 0
    READING = 1
    SENDING = 2
    MUTED = 3
    """There is none, and none may begin: the client's rights have ended."""


@define(eq=False, weakref_slot=False)
class Client:
    """One connected client of one incarnation, and the guard before its connection.

    Everything that is asked of a connection goes through here. A connection that raises, or
    returns a value of a wrong type, is lost at once, and nobody else is: the error is logged, the
    connection is aborted, the client is forgotten, and nothing more is asked of it.
    """

    at_end: ClassVar[bool] = False
    number: int
    connection: Connection
    identity: Identity
    vouched: bool
    """Whether the program said who it is, so that no token of its own changes that."""
    scope: str = field(repr=False)
    window: DeliveryWindow
    waiting: int = 0
    """How many of its messages lie in the inbox or aren't answered yet."""
    cost: int = 0
    """How many bytes of memory its messages in the inbox take, about."""
    fills_turns: bool = False
    """Whether a turn of the gathering was filled by what it said, of which some still waits."""
    asked: int = 0
    """The number of its join, which grows with each join; 0 if it isn't known."""
    extras: Extras = PLAIN
    """What it's told of ops besides them."""
    proof: bool = False
    """Whether it's told the head of the log's chain."""
    is_bereft: bool = False
    """Whether its incarnation has ended while it was attached."""
    was_crashed: bool = False
    """Whether its incarnation has crashed: what the client had sent before may be lost."""
    joined_at: int = 0
    """The log's end when it joined. It is brought everything up to there as ops."""
    acked: int = -1
    """The last seq that it acknowledged, whatever it had been brought."""
    attached: bool = False
    paging: Paging = Paging.NO
    space: trio.Event | None = None
    """Set when more of its messages may come; made by a task that waits for that."""
    reads: int = 0
    """How many of its requests wait for a page from the store."""
    leaving: bool = False
    """Whether it has said that it leaves, and is let go once nothing is owed to it."""
    held: list[tuple[range, ServerMessage]] | None = None
    """Answers about its own ops, with their seqs, which wait until it has what comes before."""
    room: "Attended | None" = None
    """Told when the connection fails; set while the client is attached."""
    _begun: set[trio.CancelScope] | None = None

    # What is asked of the connection.

    def send(self, outgoing: Outgoing) -> None:
        """Hand a message to the connection."""
        # As within a `Guard`, but without making one: this is done for each client and batch.
        try:
            self.connection.send(outgoing)
        except Exception as error:
            self.lost("send", error)

    def answer(self, message: ServerMessage) -> None:
        """Send the answer to a request of this client."""
        if self.attached:
            try:
                self.connection.send_soon(Outgoing(message))
            except Exception as error:
                self.lost("send_soon", error)

    def fail(self, error: GatheringsError, request_id: str | None = None) -> None:
        """Tell the client that its request failed."""
        self.answer(Error(error.code, sayable(error), request_id))

    def part(self, outgoing: Outgoing, code: CloseCode, reason: str) -> None:
        """Hand the last message to the connection, and close it after that."""
        with Guard(self, "close"):
            # Together with the close frame: by one write.
            self.connection.send_soon(outgoing)
            self.connection.close(code, reason)

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the connection after what was sent."""
        with Guard(self, "close"):
            self.connection.close(code, reason)

    def abort(self) -> None:
        """Drop the connection at once."""
        with Guard(self, "abort"):
            self.connection.abort()

    def read_arrived(self) -> bool:
        """Have the connection take in what has arrived; return whether there may be more."""
        with Guard(self, "read_arrived"):
            return bool(self.connection.read_arrived())
        return False

    @property
    def receiving(self) -> int:
        """How many bytes have come of a message whose rest hasn't come yet."""
        with Guard(self, "receiving"):
            return checked(self.connection.receiving)
        return 0

    def wasted(self, cost: int) -> None:
        """Count what it sent for nothing."""
        with Guard(self, "wasted"):
            self.connection.wasted(cost)

    async def flush(self) -> None:
        """Wait until the connection's backlog is gone.

        Cancellation: the backlog stays as it is.
        """
        with Guard(self, "flush"):
            await self.connection.flush()

    @property
    def backlog(self) -> int:
        """How many bytes of what was sent still wait in this process."""
        with Guard(self, "backlog"):
            return checked(self.connection.backlog)
        return 0

    @property
    def progress(self) -> int:
        """How many bytes have gone out so far."""
        with Guard(self, "progress"):
            return checked(self.connection.progress)
        return 0

    @property
    def in_transit(self) -> int:
        """How many bytes of what was sent are still to go."""
        with Guard(self, "in_transit"):
            return checked(self.connection.in_transit)
        return 0

    def lost(self, what: str, error: BaseException) -> None:
        """Log that the connection has failed, abort it, and ask nothing more of it."""
        extra = {"client": self.number, "call": what}
        _log.error("a connection failed", exc_info=error, extra=extra)
        connection, self.connection = self.connection, GONE
        try:
            connection.abort()
        except Exception as again:
            _log.debug("its abort failed, too", exc_info=again, extra=extra)
        if self.room is not None:
            self.room.gone(self)

    def is_at_rest(self, committed: int) -> bool:
        """Whether nothing is under way for it, and it has what is committed, as far as it may."""
        window = self.window
        return (
            not (self.waiting or self.reads or self.leaving or self.held or self._begun)
            and window.owed <= window.acked
            and (self.paging is Paging.MUTED or (not self.paging and window.reached >= committed))
        )

    # Its rights.

    @property
    def is_mute(self) -> bool:
        """Whether its rights have ended: what it says is refused, and it is brought nothing."""
        return self.identity.has_ended

    def mute(self) -> None:
        """End its rights. It is brought nothing until they're renewed."""
        self.identity = self.identity.ended()
        if not self.paging:
            self.paging = Paging.MUTED

    def unmute(self) -> bool:
        """Its rights are renewed. Return whether it must now be brought what it missed."""
        if self.paging is not Paging.MUTED:
            return False
        self.paging = Paging.NO
        return True

    # The tasks that work for it.

    @contextmanager
    def under_way(self) -> Iterator[trio.CancelScope]:
        """Cancel what runs inside when the client leaves; at once, if it has left already."""
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
        """Note that it isn't attached any more, and end the tasks that work for it."""
        self.attached = False
        self.room = None
        self.held = None
        for scope in self._begun or ():
            scope.cancel()
        self.make_space()

    def processed(self, count: int = 1) -> None:
        """Note that so many of its messages are processed: others may come."""
        self.waiting -= count
        if not self.waiting:
            self.cost = 0
            self.fills_turns = False
        self.make_space()

    def make_space(self) -> None:
        """Wake the task that waits to put a message into the inbox, if one does."""
        if self.space is not None:
            self.space.set()
            self.space = None


Sender = Caller | Client
