"""The server's end of one WebSocket: a gathering's `Connection`, and the task that reads it."""

import logging
from collections.abc import Iterator
from typing import ClassVar

import trio
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from squire_gatherings.actors.connection import Connection
from squire_gatherings.actors.hall import Hall
from squire_gatherings.actors.membership import Membership
from squire_gatherings.edges.codecs import Codec, Incoming, UndecodableMessage
from squire_gatherings.edges.websocket.outbox import Outbox, TryWrite
from squire_gatherings.edges.websocket.settings import ServerSettings
from squire_gatherings.rules.rate_limit import RateLimit
from squire_gatherings.values.endings import CloseCode
from squire_gatherings.values.errors import (
    GatheringCrashed,
    GatheringsError,
    HallClosed,
    StoreUnavailable,
    Unauthorized,
)
from squire_gatherings.values.messages import Error, Join
from squire_gatherings.values.outgoing import Outgoing

_log = logging.getLogger(__name__)

RECEIVE_SIZE = 64 * 1024


class WebSocketConnection(Connection):
    """One accepted WebSocket. `run` drives it; everything else may be called meanwhile."""

    __slots__ = (
        "_client_closed",
        "_closing",
        "_deaf",
        "_heard",
        "_held_up",
        "_limit",
        "_outbox",
        "_partial",
        "_pinged",
        "_protocol",
        "_refused",
        "_scope",
        "_settings",
        "_stream",
        "_unreadable",
        "codec",
    )

    # A server's frames are neither masked nor compressed, so that one without state
    # encodes for all.
    _framer: ClassVar[FrameProtocol] = FrameProtocol(client=False, extensions=[])

    def __init__(
        self,
        stream: trio.abc.Stream,
        codec: Codec,
        settings: ServerSettings,
        nursery: trio.Nursery,
        try_write: TryWrite | None,
    ) -> None:
        self.codec = codec
        self._heard = True
        """Whether anything came since the last round of the keep-alive."""
        self._pinged = False
        self._held_up = False
        """Whether the gathering keeps us from reading, so that nothing can be heard."""
        self._stream = stream
        self._settings = settings
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._outbox = Outbox(
            stream, try_write, nursery, settings.max_backlog, self._overflow, self.abort
        )
        self._scope = trio.CancelScope()
        self._closing = False
        self._client_closed = False
        """Whether the client's close frame has come: what is queued is all it still gets."""
        self._deaf = False
        """Whether messages that still come are thrown away; a close frame is heeded."""
        self._unreadable = False
        """Whether the client broke the protocol, so that nothing more can be understood."""
        self._partial: bytearray | None = None
        """What has come of a message that isn't whole yet; text as UTF-8."""
        self._limit = (
            None
            if settings.rate_limit is None
            else RateLimit(settings.rate_limit, settings.rate_burst)
        )
        self._refused = 0

    # What a gathering does with it.

    def send(self, outgoing: Outgoing) -> None:
        """Send a message, encoded once for all connections with this subprotocol."""
        if self._closing:
            return
        frame = outgoing.encoded.get(self.codec.subprotocol)
        if frame is None:
            payload = self.codec.encode(outgoing)
            data = payload.decode() if self.codec.is_text else payload
            frame = bytes(self._framer.send_data(data))
            outgoing.encoded[self.codec.subprotocol] = frame
        self._outbox.write(frame)

    def close(self, code: CloseCode, reason: str) -> None:
        """Send a close frame after everything else, and give the client time to answer it."""
        if not self._closing:
            self._begin_closing()
            self._outbox.write(bytes(self._framer.close(code, reason)))

    @property
    def backlog(self) -> int:
        """Bytes that the kernel hasn't taken yet."""
        return self._outbox.backlog

    async def flush(self) -> None:
        """Wait until the backlog is gone. Cancelling it changes nothing."""
        await self._outbox.flushed()

    def abort(self) -> None:
        """End the connection without another word."""
        self._closing = self._deaf = True
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
            self._outbox.write(bytes(self._framer.ping()))

    def _begin_closing(self) -> None:
        self._closing = True
        self._scope.deadline = trio.current_time() + self._settings.close_timeout

    def _overflow(self) -> None:
        if not self._closing:
            self._begin_closing()
            self._deaf = True
            frame = self._framer.close(CloseCode.UNRESPONSIVE, "too slow a reader")
            self._outbox.finish_with(bytes(frame))

    # The task that reads it.

    async def run(self, hall: Hall, gathering_id: str, received: bytes) -> None:
        """Join, deliver what comes, and return when the connection has ended.

        `received` came together with the handshake. When cancelled, tells the client that
        the server goes away, if that needs no waiting.
        """
        membership: Membership | None = None
        try:
            with self._scope:
                self._protocol.receive_bytes(received)
                membership = await self._join(hall, gathering_id)
                if membership is not None:
                    await self._deliver(membership)
                else:
                    while await self._receive():
                        for _ in self._messages():
                            pass
            if self._client_closed:
                with trio.move_on_after(self._settings.close_timeout):
                    await self.flush()
        except Exception:
            self._fail("internal", "the server failed", CloseCode.CRASHED)
            raise
        finally:
            if membership is not None:
                membership.detach()
            self.close(CloseCode.GOING_AWAY, "server shutting down")
            # Nobody brings it out any more: whoever waits for a flush needn't.
            self._outbox.retire()

    async def _join(self, hall: Hall, gathering_id: str) -> Membership | None:
        with trio.move_on_after(self._settings.join_timeout) as timeout:
            message = await self._first()
        if timeout.cancelled_caught:
            self._fail("join_first", "no join came in time", CloseCode.PROTOCOL_ERROR)
            return None
        if message is None:
            return None
        if not isinstance(message, Join):
            self._fail("join_first", "the first message is join", CloseCode.PROTOCOL_ERROR)
            return None
        try:
            return await hall.join(
                gathering_id,
                self,
                since=message.since,
                client=message.client,
                token=message.token,
            )
        except GatheringsError as error:
            self._fail(error.code, str(error), _close_code(error))
            return None

    async def _first(self) -> Incoming | None:
        while True:
            for message in self._messages():
                return message
            if not await self._receive():
                return None

    async def _deliver(self, membership: Membership) -> None:
        while True:
            for message in self._messages():
                if isinstance(message, Join):
                    self._error("already_joined", "this connection has joined already")
                    continue
                try:
                    membership.deliver_nowait(message)
                except trio.WouldBlock:
                    self._held_up = True
                    await membership.deliver(message)
                    self._held_up = False
            if not await self._receive():
                return

    async def _receive(self) -> bool:
        """Wait for more bytes; False once the client has closed or gone."""
        try:
            data = await self._stream.receive_some(RECEIVE_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.abort()
            return False
        self._heard = True
        if not self._unreadable:
            self._protocol.receive_bytes(bytes(data))
        return True

    def _messages(self) -> Iterator[Incoming]:
        """Yield the messages that have arrived whole; answer everything else."""
        if self._unreadable:
            return
        try:
            for frame in self._protocol.received_frames():
                payload = frame.payload
                if frame.opcode is Opcode.PING:
                    assert isinstance(payload, bytes | bytearray)
                    if not self._closing:
                        self._outbox.write(bytes(self._framer.pong(payload)))
                elif frame.opcode is Opcode.CLOSE:
                    assert isinstance(payload, tuple)
                    self._closed_by_client(payload[0])
                    return
                elif frame.opcode is not Opcode.PONG and not self._deaf:
                    assert isinstance(payload, bytes | bytearray | str)
                    message = self._assemble(payload, frame.message_finished)
                    if message is not None:
                        yield message
        except ParseFailed as error:
            self._unreadable = True
            code = error.code if isinstance(error.code, int) else CloseReason.PROTOCOL_ERROR
            self.close(CloseCode(code), str(error))

    def _assemble(self, payload: bytes | bytearray | str, finished: bool) -> Incoming | None:
        partial = self._partial
        size = _byte_length(payload) + (len(partial) if partial is not None else 0)
        if size > self._settings.max_message_size:
            self._deaf = True
            self._partial = None
            limit = self._settings.max_message_size
            self._fail("too_big", f"messages have at most {limit} bytes", CloseCode.TOO_BIG)
            return None
        whole: bytes | str = payload if isinstance(payload, str) else bytes(payload)
        if not finished or partial is not None:
            # One buffer of bytes: a list of parts would grow with empty fragments.
            if partial is None:
                partial = self._partial = bytearray()
            partial += whole.encode() if isinstance(whole, str) else whole
            if not finished:
                return None
            self._partial = None
            whole = partial.decode() if isinstance(whole, str) else bytes(partial)
        if self._limit is not None and not self._limit.allow(trio.current_time()):
            self._over_the_limit()
            return None
        self._refused = 0
        if isinstance(whole, str) is not self.codec.is_text:
            kind = "text" if self.codec.is_text else "binary"
            self._error("bad_message", f"{self.codec.subprotocol} goes in {kind} frames")
            return None
        try:
            return self.codec.decode(whole)
        except UndecodableMessage as error:
            self._error(error.code, str(error), error.request_id)
            return None

    def _over_the_limit(self) -> None:
        self._refused += 1
        if self._refused > self._settings.rate_burst:
            self._deaf = True
            self._fail("rate_limited", "too many messages", CloseCode.RATE_LIMIT)
        else:
            self._error("rate_limited", "too many messages; this one was dropped")

    def _closed_by_client(self, code: int) -> None:
        """Answer the client's close frame, or take it as the answer to ours."""
        self._deaf = True
        # What is still queued may hold our close frame, whoever was first.
        self._client_closed = True
        if not self._closing:
            self._closing = True
            answer = None if code == CloseReason.NO_STATUS_RCVD else code
            self._outbox.write(bytes(self._framer.close(answer)))
        # The server closes the TCP connection first (RFC 6455, section 7.1.1).
        self._scope.cancel()

    def _error(self, code: str, message: str, request_id: str | None = None) -> None:
        self.send(Outgoing(Error(code, message, request_id)))

    def _fail(self, code: str, message: str, close_code: CloseCode) -> None:
        self._error(code, message)
        self.close(close_code, message)


def _byte_length(payload: bytes | bytearray | str) -> int:
    if isinstance(payload, str) and not payload.isascii():
        return len(payload.encode())
    return len(payload)


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
