"""One WebSocket, whole: its task joins, and then does what must wait, until the end."""

import math
import socket
from collections.abc import Awaitable
from contextlib import suppress

import trio

from squire_gatherings._hall.lateness import TookTooLong, attempt_within
from squire_gatherings._hall.membership import Membership
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.framing import TURN
from squire_gatherings._server.inbound import ClosedByClient, Complaint
from squire_gatherings._server.limits import Meter
from squire_gatherings._server.outbox import Flusher, Outbox
from squire_gatherings._server.receiving import Receiving
from squire_gatherings._server.reports import is_reported, report_close
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import Due
from squire_gatherings._server.sources import PolledSource, Source
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringDispersed, GatheringsError
from squire_gatherings._values.handover import ConnectionState, RequestState
from squire_gatherings._values.messages import Join
from squire_gatherings._values.text import sayable
from squire_gatherings._wire.codecs import Codec, Incoming
from squire_gatherings._wire.refusals import close_code_of
from squire_gatherings._wire.underway import Underway

EARLY_SIZE = 64 * 1024
"""About how many bytes are read while the join is under way; of frames it's one turn at once."""


class WebSocketConnection(Receiving):
    """One accepted WebSocket. `run` drives it; everything else may be called meanwhile."""

    __slots__ = ("_early", "_entrance", "_entry", "_is_moved", "_turns", "stream")

    def __init__(
        self,
        stream: trio.abc.Stream,
        source: Source,
        codec: Codec,
        entry: Entry | None,
        meter: Meter,
        settings: ServerSettings,
        turns: trio.Lock,
        entrance: trio.CapacityLimiter,
        nursery: trio.Nursery,
        plain: socket.socket | None,
        flusher: Flusher | None,
        underway: Underway,
    ) -> None:
        super().__init__(codec, settings, source, meter, nursery.cancel_scope)
        self._entry = entry
        """None once it has joined, or failed to, or where another process let it in."""
        self._turns = turns
        """All connections share it: one after the other goes on with what has come."""
        self._entrance = entrance
        """All connections share it: few join in a turn, however many come at once."""
        self.stream = stream
        self._outbox = Outbox(
            stream,
            None if plain is None else plain.send,
            nursery,
            settings.max_backlog,
            self._overflow,
            self.abort,
            flusher,
            underway,
            meter.quotas.budget,
            plain,
        )
        self._is_moved = False
        """Whether another process goes on with it."""
        self._early: list[Incoming | Complaint] | None = None
        """What came while the join was under way; None where nothing did."""

    def keep_alive(self) -> None:
        """One round: ping the client if nothing came or went for long, abort if it stayed so."""
        outbox = self._outbox
        listened = not self._held_up
        match self._silence.round(outbox.progress, outbox.in_transit, listened=listened):
            case Due.PING if not self._closing:
                self._inbound.ping()
                self._reply()
            case Due.END if not self._closing:
                self.read_arrived()
                if not self._silence.heard:
                    self.abort()

    async def run(self, received: bytes) -> None:
        """Join, deliver what comes, and return when the connection has ended.

        Where the connection is aborted, or isn't closed in time, the nursery is cancelled.

        Args:
            received: The bytes that came together with the handshake; or what another process
                hasn't understood yet that let the client in.

        Cancellation: the client is told that the server goes away, if that needs no waiting.
        """
        began_at = trio.current_time()
        try:
            if received:
                self._take(received)
            if self._membership is None:
                await self._join()
            while not self._ended:
                await self._go_on()
            if self._inbound.broken:
                await self._hang_up()
            if self._client_closed:
                self._scope.deadline = trio.current_time() + self._settings.close_timeout
                await self.flush()
        except Exception:
            self._fail("internal", "the server failed", CloseCode.CRASHED)
            # Where the stream isn't a plain socket, a task of our caller's must write it. A limit
            # that is nearer than this one would hide the error behind a cancellation.
            self._scope.deadline = math.inf
            with trio.move_on_after(self._settings.close_timeout):
                await self.flush()
            raise
        finally:
            # It refers back to us: a cycle would outlive both.
            membership, self._membership = self._membership, None
            if membership is not None:
                left = self._client_closed and self._inbound.closing.is_goodbye
                membership.detach(left=left)
            self.close(CloseCode.GOING_AWAY, "server shutting down")
            if is_reported() and not self._is_moved:
                report_close(self.meter, membership, self._inbound.closing, began_at)
            # Nothing more goes out: a task that waits for a flush needn't wait any longer.
            self._outbox.retire()
            self._inbound.retire()

    # Handing over.

    @property
    def plain(self) -> socket.socket | None:
        """The socket that it is, if another process can go on with it."""
        return self._outbox.plain if isinstance(self._source, PolledSource) else None

    @property
    def can_go(self) -> bool:
        """Whether another process can go on with it: it has joined, or hasn't begun to."""
        if self._closing or self._ended or self._outbox.plain is None:
            return False
        if self._membership is None and self._entry is None:
            return False
        return isinstance(self._source, PolledSource)

    @property
    def request(self) -> RequestState | None:
        """What its client asked for, if it hasn't begun to join."""
        return None if self._entry is None else self._entry.state()

    def state(self, number: int, ahead: float) -> ConnectionState | None:
        """Return what another process needs to go on; None while something is under way.

        Nothing is changed, and nothing more may come in or go out once it goes on there.

        Args:
            number: Its number there.
            ahead: How many seconds that process's clock is ahead of Trio's.
        """
        inbound, outbox = self._inbound, self._outbox
        if self._waiting is not None or (self._membership is None and self._entry is None):
            return None
        if self._held_up and not self._quiet_until:
            return None
        return ConnectionState(
            number,
            inbound.unread(),
            outbox.unsent(),
            self._quiet_until + ahead if self._quiet_until else -math.inf,
        )

    @property
    def is_quiet(self) -> bool:
        """Whether it's in a gathering, and there is nothing that `state` would tell."""
        return not (
            self._membership is None
            or self._waiting is not None
            or self._held_up
            or self._quiet_until
            or not self._inbound.is_empty
            or not self._outbox.is_empty
        )

    def leave(self) -> None:
        """Note that another process goes on with it: here it ends without a word."""
        self._is_moved = True
        self.abort()

    def wait_mute(self) -> None:
        """Be another process's until `take_over`: nothing goes out, whatever happens."""
        self._is_moved = True
        self._outbox.wait_mute()

    def become(self, membership: Membership) -> None:
        """Be in a gathering, as it is in the other process."""
        self._membership, self._entry = membership, None
        self._source.let_in()
        self._inbound.resume()

    def take_over(self) -> None:
        """Be ours from now on."""
        self._is_moved = False
        self._outbox.take_over()

    def resume(self, state: ConnectionState, ahead: float) -> None:
        """Go on with what was on its way in another process.

        What that hasn't understood yet goes to `run`, or to `go_on` if `run` is under way.

        Args:
            state: That.
            ahead: How many seconds our clock is ahead of that process's.
        """
        self._outbox.resume(state.unsent)
        if state.quiet_until > -math.inf:
            self._quiet_until = state.quiet_until + ahead

    def go_on(self, received: bytes) -> None:
        """Take in what another process hasn't understood yet. `run` waits for more to come."""
        if isinstance(self._source, PolledSource):
            self._source.give(received)

    # The join.

    async def _join(self) -> None:
        """Wait for the first message; if it is a join, enter, and deliver what came meanwhile."""
        in_time = await self._hears_the_first()
        entry, self._entry = self._entry, None
        assert entry is not None
        message, self._waiting = self._waiting, None
        if isinstance(message, Join):
            self._held_up = True
            failure = await self._enter(entry, message)
            if failure is not None and not isinstance(failure, GatheringsError):
                raise failure
            if self._membership is not None or self._inbound.broken:
                await self._deliver_what_came_early()
            elif isinstance(failure, GatheringDispersed):
                # The hall has said so, and closed.
                self._inbound.deaf = True
            elif failure is not None:
                self._fail(failure.code, sayable(failure), close_code_of(failure))
            self._held_up = False
        elif message is not None:
            request_id = getattr(message, "id", None)
            text = "the first message is join"
            self._fail("join_first", text, CloseCode.PROTOCOL_ERROR, request_id)
        elif not in_time:
            self._fail("join_first", "no join came in time", CloseCode.PROTOCOL_ERROR)

    async def _hears_the_first(self) -> bool:
        """Wait for the first message, or the end; return whether one of them comes in time."""
        try:
            await attempt_within(self._settings.join_timeout, self._wait_for_the_first)
        except TookTooLong:
            # It may lie in the socket.
            self._take_all()
        return self._waiting is not None or self._ended

    async def _wait_for_the_first(self) -> None:
        while self._waiting is None and not self._ended:
            await self._go_on()

    async def _enter(self, entry: Entry, join: Join) -> Exception | None:
        """Join; return what it raised. A client that hangs up or breaks the protocol doesn't."""
        read = 0

        def take(data: bytes) -> bool:
            nonlocal read
            if not data:
                return self._take(data)
            read += len(data)
            self._silence.heard = True
            self._inbound.feed(data)
            return keep()

        def keep() -> bool:
            wanted = self._keep()
            if self._ended or self._inbound.broken:
                joining.cancel()
            return wanted and read < EARLY_SIZE

        with trio.CancelScope() as joining:
            if not keep():
                await trio.lowlevel.checkpoint_if_cancelled()
                return await self._ask_to_join(entry, join)
            if self._source.attach(take):
                try:
                    return await self._ask_to_join(entry, join)
                finally:
                    self._source.detach()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._source.feed, take)
                failure = await self._ask_to_join(entry, join)
                nursery.cancel_scope.cancel()
            return failure
        return None

    async def _ask_to_join(self, entry: Entry, join: Join) -> Exception | None:
        async with self._entrance:
            pass
        try:
            self._membership = await entry.join(self, join)
        except Exception as error:
            return error
        self._source.let_in()
        return None

    def _keep(self) -> bool:
        """Keep what is there for after the join; return whether more is wanted."""
        inbound = self._inbound
        while (arrival := inbound.next()) is not None:
            if isinstance(arrival, ClosedByClient):
                self._closed_by_client()
            elif self._early is None:
                self._early = [arrival]
            else:
                self._early.append(arrival)
        # The client is told first what is wrong, and then that this is the end.
        return not inbound.broken and self._settle()

    async def _deliver_what_came_early(self) -> None:
        early, self._early = self._early, None
        for arrival in early or ():
            if isinstance(arrival, Complaint):
                self._complain(arrival)
            elif self._membership is not None and not self._deliver(arrival):
                self._waiting = arrival
                await self._deliver_what_waits()
        self._process()
        if self._inbound.broken:
            self._ended = True

    # After the join.

    def _go_on(self) -> Awaitable[None]:
        """Do what is next: deliver what waits, go on with what has come, or read more.

        To be awaited at once.
        """
        # No `async def`: while nothing comes, its frame would be there for nothing.
        if self._waiting is not None:
            return self._catch_up()
        if self._quiet_until:
            return self._keep_quiet()
        if self._inbound.room < 0:
            return self._take_a_turn()
        return self._source.feed(self._take)

    async def _catch_up(self) -> None:
        self._held_up = True
        await self._deliver_what_waits()
        self._held_up = False
        self._process()

    async def _keep_quiet(self) -> None:
        self._held_up = True
        await trio.sleep_until(self._quiet_until)
        self._quiet_until, self._held_up = 0.0, False
        self._process()

    async def _take_a_turn(self) -> None:
        async with self._turns:
            self._inbound.room = TURN
            self._process()

    async def _deliver_what_waits(self) -> None:
        message, self._waiting = self._waiting, None
        assert self._membership is not None
        assert message is not None
        assert not isinstance(message, Join)
        await self._membership.take(message)

    async def _hang_up(self) -> None:
        """Tell a client that can't be understood that this is all, and wait for its end.

        Closing with unread bytes would reset the connection before it has read what we said.
        """
        await self.flush()
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.send_eof()
        await self._source.feed(_until_the_end)


def _until_the_end(data: bytes) -> bool:
    return bool(data)
