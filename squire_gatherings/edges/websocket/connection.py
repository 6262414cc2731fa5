"""The server's end of one WebSocket: a gathering's `Connection`, and the task that lives for it."""

from contextlib import suppress

import trio

from squire_gatherings.actors.connection import Connection
from squire_gatherings.actors.hall import Hall
from squire_gatherings.actors.membership import Membership
from squire_gatherings.edges.codecs import Codec, Incoming
from squire_gatherings.edges.websocket.inbound import (
    Complaint,
    Inbound,
    frame_of,
)
from squire_gatherings.edges.websocket.outbox import Flusher, Outbox, TryWrite
from squire_gatherings.edges.websocket.settings import ServerSettings
from squire_gatherings.edges.websocket.sources import Source
from squire_gatherings.values.endings import CloseCode
from squire_gatherings.values.errors import (
    GatheringCrashed,
    GatheringsError,
    HallClosed,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings.values.messages import ClientMessage, Error, Join
from squire_gatherings.values.outgoing import Outgoing


class WebSocketConnection(Connection):
    """One accepted WebSocket. `run` drives it; everything else may be called meanwhile."""

    __slots__ = (
        "_client_closed",
        "_closing",
        "_ended",
        "_heard",
        "_held_up",
        "_inbound",
        "_key",
        "_membership",
        "_outbox",
        "_pinged",
        "_scope",
        "_settings",
        "_source",
        "_stream",
        "_waiting",
        "codec",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        source: Source,
        codec: Codec,
        settings: ServerSettings,
        nursery: trio.Nursery,
        try_write: TryWrite | None,
        flusher: Flusher | None,
    ) -> None:
        self.codec = codec
        self._key = codec.subprotocol
        self._heard = True
        """Whether anything came since the last round of the keep-alive."""
        self._pinged = False
        self._held_up = False
        """Whether the gathering keeps us from reading, so that nothing can be heard."""
        self._stream = stream
        self._source = source
        self._settings = settings
        self._inbound = Inbound(codec, settings)
        self._outbox = Outbox(
            stream, try_write, nursery, settings.max_backlog, self._overflow, self.abort, flusher
        )
        self._scope = trio.CancelScope()
        self._membership: Membership | None = None
        self._waiting: Incoming | None = None
        """A message for which our task must do something: the first, or one that must wait."""
        self._closing = False
        self._ended = False
        """Whether there's nothing more to read."""
        self._client_closed = False
        """Whether the client's close frame has come: what is queued is all it still gets."""

    # What a gathering does with it.

    def send(self, outgoing: Outgoing) -> None:
        """Send a message, encoded once for all connections with this subprotocol."""
        if not self._closing:
            self._outbox.write(outgoing.encoded.get(self._key) or self._encode(outgoing))

    def send_soon(self, outgoing: Outgoing) -> None:
        """Send a message together with what else this turn brings for this client."""
        if not self._closing:
            self._outbox.write_soon(outgoing.encoded.get(self._key) or self._encode(outgoing))

    def close(self, code: CloseCode, reason: str) -> None:
        """Send a close frame after everything else, and give the client time to answer it."""
        if not self._closing:
            self._begin_closing()
            self._inbound.close(code, reason)
            self._reply()

    @property
    def backlog(self) -> int:
        """Bytes that the kernel hasn't taken yet."""
        return self._outbox.backlog

    async def flush(self) -> None:
        """Wait until the backlog is gone. Cancelling it changes nothing."""
        await self._outbox.flushed()

    def abort(self) -> None:
        """End the connection without another word."""
        self._closing = self._inbound.deaf = True
        self._outbox.discard()
        self._scope.cancel()

    def keep_alive(self) -> None:
        """One round: ping the client if it was silent since the last, abort if it stayed so.

        Every client answers a ping by itself.
        """
        if self._heard or self._held_up:
            self._heard = self._pinged = False
        elif self._pinged:
            self.abort()
        elif not self._closing:
            self._pinged = True
            self._inbound.ping()
            self._reply()

    def _encode(self, outgoing: Outgoing) -> bytes:
        frame = frame_of(self.codec, self.codec.encode(outgoing))
        outgoing.encoded[self._key] = frame
        return frame

    def _begin_closing(self) -> None:
        self._closing = True
        self._scope.deadline = trio.current_time() + self._settings.close_timeout

    def _overflow(self) -> None:
        if not self._closing:
            self._begin_closing()
            self._inbound.deaf = True
            self._inbound.close(CloseCode.UNRESPONSIVE, "too slow a reader")
            self._outbox.finish_with(b"".join(self._inbound.replies()))

    def _reply(self) -> None:
        for frame in self._inbound.replies():
            self._outbox.write(frame)

    # The task that lives for it.

    async def run(self, hall: Hall, gathering_id: str, received: bytes) -> None:
        """Join, deliver what comes, and return when the connection has ended.

        `received` came together with the handshake. When cancelled, tells the client that
        the server goes away, if that needs no waiting.
        """
        try:
            with self._scope:
                if received:
                    self._take(received)
                await self._join(hall, gathering_id)
                self._process()
                while not self._ended:
                    if self._waiting is None:
                        await self._source.feed(self._take)
                    else:
                        await self._deliver_what_waits()
                if self._inbound.broken:
                    await self._hang_up()
            if self._client_closed:
                with trio.move_on_after(self._settings.close_timeout):
                    await self.flush()
        except Exception:
            self._fail("internal", "the server failed", CloseCode.CRASHED)
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

    async def _join(self, hall: Hall, gathering_id: str) -> None:
        with trio.move_on_after(self._settings.join_timeout) as timeout:
            if self._waiting is None and not self._ended:
                await self._source.feed(self._take)
        message, self._waiting = self._waiting, None
        if isinstance(message, Join):
            try:
                self._membership = await hall.join(
                    gathering_id,
                    self,
                    since=message.since,
                    client=message.client,
                    token=message.token,
                )
            except GatheringsError as error:
                self._fail(error.code, str(error), _close_code(error))
        elif message is not None:
            self._fail("join_first", "the first message is join", CloseCode.PROTOCOL_ERROR)
        elif timeout.cancelled_caught:
            self._fail("join_first", "no join came in time", CloseCode.PROTOCOL_ERROR)

    async def _deliver_what_waits(self) -> None:
        message, self._waiting = self._waiting, None
        assert self._membership is not None
        assert message is not None
        assert not isinstance(message, Join)
        self._held_up = True
        await self._membership.deliver(message)
        self._held_up = False
        self._process()

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
        self._heard = True
        self._inbound.feed(data)
        return self._process()

    def _process(self) -> bool:
        """Deliver what is there, as far as it can be; says whether more is wanted."""
        inbound = self._inbound
        while (arrival := inbound.next()) is not None:
            if isinstance(arrival, ClientMessage):
                if not self._deliver(arrival):
                    self._waiting = arrival
                    return False
            elif isinstance(arrival, Complaint):
                self._complain(arrival)
            else:
                self._closed_by_client()
        if inbound.has_replies:
            self._reply()
        if inbound.broken:
            self._ended = True
        return not self._ended

    def _deliver(self, message: Incoming) -> bool:
        """Put a message into the gathering's inbox; False if our task must do something."""
        if self._membership is None:
            return False
        if isinstance(message, Join):
            self._error("already_joined", "this connection has joined already")
            return True
        try:
            self._membership.deliver_nowait(message)
        except trio.WouldBlock:
            return False
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

    def _error(self, code: str, message: str, request_id: str | None = None) -> None:
        self.send(Outgoing(Error(code, message, request_id)))

    def _fail(self, code: str, message: str, close_code: CloseCode) -> None:
        self._inbound.deaf = True
        self._error(code, message)
        self.close(close_code, message)


def _until_the_end(data: bytes) -> bool:
    return bool(data)


def _close_code(error: GatheringsError) -> CloseCode:
    """Return with which code a connection is closed whose join failed."""
    if isinstance(error, Unauthorized):
        return CloseCode.UNAUTHORIZED
    if isinstance(error, HallClosed):
        return CloseCode.GOING_AWAY
    if isinstance(error, GatheringCrashed):
        return CloseCode.CRASHED
    if isinstance(error, StoreUnavailable):
        return CloseCode.TRY_AGAIN_LATER
    return CloseCode.PROTOCOL_ERROR
