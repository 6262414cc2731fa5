"""The server's end of one WebSocket: a gathering's `Connection`, and the task that lives for it."""

import math
from collections.abc import Awaitable
from contextlib import suppress

import trio

from squire_gatherings._hall.lateness import HELD_UP, is_late
from squire_gatherings._hall.membership import Membership
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.inbound import (
    TURN,
    ClosedByClient,
    Complaint,
    Inbound,
)
from squire_gatherings._server.outbox import Flusher, Outbox, TryWrite
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import Due, Silence
from squire_gatherings._server.sources import RECEIVE_SIZE, Source
from squire_gatherings._server.way_out import WayOut
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import GatheringDispersed, GatheringsError
from squire_gatherings._values.messages import ClientMessage, Join
from squire_gatherings._values.text import sayable
from squire_gatherings._wire.codecs import Codec, Incoming
from squire_gatherings._wire.refusals import close_code_of
from squire_gatherings._wire.underway import Underway

EARLY_SIZE = 64 * 1024
"""How many bytes are read, about, while the join is under way; of frames it's one turn at once."""

MOST_TURNS = 8
"""How many turns' worth of frames `read_arrived` takes in at once, and of bytes one large message:
what comes to more isn't what a client sends that waits to be heard."""


class WebSocketConnection(WayOut):
    """One accepted WebSocket. `run` drives it; everything else may be called meanwhile."""

    __slots__ = (
        "_client_closed",
        "_early",
        "_ended",
        "_entrance",
        "_entry",
        "_held_up",
        "_membership",
        "_meter",
        "_quiet_until",
        "_silence",
        "_source",
        "_stream",
        "_turns",
        "_waiting",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        source: Source,
        codec: Codec,
        entry: Entry,
        settings: ServerSettings,
        max_ops: int,
        turns: trio.Lock,
        entrance: trio.CapacityLimiter,
        nursery: trio.Nursery,
        try_write: TryWrite | None,
        flusher: Flusher | None,
        underway: Underway,
    ) -> None:
        inbound = Inbound(codec, settings, entry.meter, max_ops)
        super().__init__(codec, settings, inbound, nursery.cancel_scope)
        self._entry: Entry | None = entry
        """Until it has joined, or failed to."""
        self._silence = Silence()
        self._held_up = False
        """Whether something keeps us from reading, so that nothing can be heard."""
        self._quiet_until = 0.0
        """Until when nothing is read, since too much came that says nothing; else 0."""
        self._meter = entry.meter
        self._turns = turns
        """Held by whoever goes on with what has come: one after the other."""
        self._entrance = entrance
        """Held by whoever is to join: few in a turn, however many come at once."""
        self._stream = stream
        self._source = source
        self._outbox = Outbox(
            stream,
            try_write,
            nursery,
            settings.max_backlog,
            self._overflow,
            self.abort,
            flusher,
            underway,
        )
        self._membership: Membership | None = None
        self._waiting: Incoming | None = None
        """A message for which our task must do something: the first, or one that must wait."""
        self._early: list[Incoming | Complaint] | None = None
        """What came while the join was under way, if anything did."""
        self._ended = False
        """Whether there's nothing more to read."""
        self._client_closed = False
        """Whether the client's close frame has come: what is queued is all it still gets."""

    # What others ask of it.

    def read_arrived(self) -> bool:
        """Take in what lies in the socket, as far as the gathering takes it.

        Of a flood only a part, and says that there may be more. Nothing happens where the stream
        isn't a plain socket, before the join is over, and while a message waits to be delivered.
        Safe at any moment; doesn't wait.
        """
        if self._closing or self._ended or self._held_up or self._waiting is not None:
            return False
        if self._membership is not None and not self._quiet_until:
            return self._take_all()
        return False

    @property
    def receiving(self) -> int:
        """See `Connection`."""
        return 0 if self._closing or self._ended else self._inbound.begun

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

    def wasted(self, cost: int) -> None:
        """See `Connection`."""
        self._inbound.noise += cost
        self._inbound.unsettled = True

    # The task that lives for it.

    async def run(self, received: bytes) -> None:
        """Join, deliver what comes, and return when the connection has ended.

        `received` came together with the handshake. Where the connection is aborted, or isn't
        closed in time, the nursery is cancelled. When cancelled, tells the client that the server
        goes away, if that needs no waiting.
        """
        try:
            if received:
                self._take(received)
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
                membership.detach()
            self.close(CloseCode.GOING_AWAY, "server shutting down")
            # Nobody brings it out any more: whoever waits for a flush needn't.
            self._outbox.retire()
            self._inbound.retire()

    async def _join(self) -> None:
        in_time = await self._wait_for_the_first()
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

    async def _wait_for_the_first(self) -> bool:
        """Wait for the first message, or the end; False if neither comes in time."""
        while self._waiting is None and not self._ended:
            due = trio.current_time() + self._settings.join_timeout
            with trio.move_on_at(due) as timeout:
                while self._waiting is None and not self._ended:
                    await self._go_on()
            if timeout.cancelled_caught and self._waiting is None and not self._ended:
                # The timer comes late when we were kept from listening: that's our fault.
                self._take_all()
                if self._waiting is None and not is_late(due, HELD_UP):
                    return False
        return True

    async def _enter(self, entry: Entry, join: Join) -> Exception | None:
        """Join; return what it raised.

        Whoever hangs up meanwhile, or talks nonsense, doesn't join.
        """
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

        Closing with unread bytes would reset the connection under what we said.
        """
        await self.flush()
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()
        await self._source.feed(_until_the_end)

    # What comes in, without waiting.

    def _take(self, data: bytes) -> bool:
        """Take in what has come; says whether more is wanted."""
        if not data:
            self._ended = True
            self.abort()
            return False
        self._silence.heard = True
        self._inbound.feed(data)
        return self._process()

    def _take_all(self) -> bool:
        """Take in what lies in the socket, and what of it was left for later.

        Returns whether there was too much of it for one turn.
        """
        wanted = self._process()
        turns, room = MOST_TURNS, self._settings.max_message_size + RECEIVE_SIZE
        while True:
            has_more = not wanted and not self._is_stopped() and self._inbound.room < 0
            if has_more and turns:
                turns -= 1
                self._inbound.room = TURN
                wanted = self._process()
                continue
            if not wanted:
                # Whoever reads has another thing to do.
                self._source.stop()
                return has_more
            data = self._source.receive_nowait() if room > 0 else None
            if data is None:
                return room <= 0
            room -= len(data)
            wanted = self._take(data)

    def _process(self) -> bool:
        """Deliver what is there, as far as it can be; says whether more is wanted."""
        if self._waiting is not None:
            return False
        inbound = self._inbound
        while (arrival := inbound.next()) is not None:
            if isinstance(arrival, ClientMessage):
                if not self._deliver(arrival):
                    self._waiting = arrival
                    break
            elif isinstance(arrival, Complaint):
                self._complain(arrival)
            else:
                self._closed_by_client()
        if inbound.unsettled:
            return self._settle()
        return self._waiting is None and not self._ended

    def _keep(self) -> bool:
        """Keep what is there for after the join; says whether more is wanted."""
        inbound = self._inbound
        while (arrival := inbound.next()) is not None:
            if isinstance(arrival, ClosedByClient):
                self._closed_by_client()
            elif self._early is None:
                self._early = [arrival]
            else:
                self._early.append(arrival)
        # What is wrong is told first, and then that this is the end.
        return not inbound.broken and self._settle()

    def _settle(self) -> bool:
        """Reply, and count what that cost; says whether more is wanted."""
        inbound = self._inbound
        self._reply()
        if inbound.spent:
            self._source.spend(inbound.spent)
            inbound.spent = 0
        if inbound.noise:
            now = trio.current_time()
            wait = self._meter.noise(inbound.noise, now)
            inbound.noise = 0
            if wait:
                self._quiet_until = now + wait
        if inbound.broken and not self._early:
            self._ended = True
        return inbound.room >= 0 and not self._is_stopped()

    def _is_stopped(self) -> bool:
        """Whether something comes before what else has arrived."""
        if self._ended or self._waiting is not None:
            return True
        return bool(self._quiet_until)

    def _deliver(self, message: Incoming) -> bool:
        """Put a message into the gathering's inbox; False if our task must do something."""
        if self._membership is None:
            return False
        if isinstance(message, Join):
            self._error("already_joined", "this connection has joined already")
            self.wasted(2)
            return True
        try:
            self._membership.take_nowait(message)
        except trio.WouldBlock:
            return False
        if self._membership.is_over:
            # Nothing that it says means anything any more.
            self._inbound.deaf = True
        return True

    def _complain(self, complaint: Complaint) -> None:
        if complaint.code is not None:
            self._error(complaint.code, complaint.text, complaint.request_id)
        if complaint.close_code is not None:
            self.close(complaint.close_code, complaint.text)

    def _closed_by_client(self) -> None:
        """Take the client's close frame as the answer to ours, or let it be answered."""
        # What is still queued may hold our close frame, whoever was first. The server
        # closes the TCP connection first (RFC 6455, section 7.1.1).
        self._closing = self._client_closed = self._ended = True


def _until_the_end(data: bytes) -> bool:
    return bool(data)
