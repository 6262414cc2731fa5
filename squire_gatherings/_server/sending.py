"""The half of a WebSocket that sends: what a gathering says to its client, and how it is closed."""

from functools import lru_cache

import trio
from websockets.frames import Frame, Opcode

from squire_gatherings._hall.connection import Connection
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.inbound import Inbound
from squire_gatherings._server.limits import Meter
from squire_gatherings._server.outbox import Outbox
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Error
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import Codec

MAX_SMALL = 1024
"""For messages of up to so many bytes the heads of their frames are kept."""


class Sending(Connection):
    """The half of a connection that sends. A subclass makes `_outbox`, and receives."""

    __slots__ = (
        "_closing",
        "_inbound",
        "_key",
        "_outbox",
        "_scope",
        "_settings",
        "codec",
        "meter",
    )

    _outbox: Outbox

    def __init__(
        self,
        codec: Codec,
        settings: ServerSettings,
        inbound: Inbound,
        meter: Meter,
        scope: trio.CancelScope,
    ) -> None:
        self.codec = codec
        self.meter = meter
        self._key = codec.subprotocol
        self._settings = settings
        self._inbound = inbound
        self._scope = scope
        """Around all that the connection does; its owner's, since each scope takes 600 bytes. It
        ends `close_timeout` seconds after `close`."""
        self._closing = False

    def send(self, outgoing: Outgoing) -> None:
        """Send a message, encoded once for all connections with this subprotocol."""
        if not self._closing:
            self._outbox.write(outgoing.encoded.get(self._key) or self._encode(outgoing))

    def send_soon(self, outgoing: Outgoing) -> None:
        """Send a message at the end of this turn, together with the others for this client."""
        if not self._closing:
            # It's an answer: nobody else is sent it, so it isn't kept encoded.
            self._outbox.write_soon(frame_of(self.codec, self.codec.encode(outgoing)))

    def close(self, code: CloseCode, reason: str) -> None:
        """Send a close frame after everything else, and give the client time to answer it."""
        if not self._closing:
            self._begin_closing()
            self._inbound.close(code, reason)
            self._reply()

    @property
    def close_code(self) -> int:
        """The code with which it was closed, once it has ended; 1006 if it broke off."""
        return self._inbound.close_code

    @property
    def backlog(self) -> int:
        """Bytes that the kernel hasn't taken yet."""
        return self._outbox.backlog

    @property
    def progress(self) -> int:
        """Bytes that have reached the client's host, as far as that can be told."""
        return self._outbox.progress

    @property
    def in_transit(self) -> int:
        """Bytes that haven't reached the client's host yet."""
        return self._outbox.in_transit

    async def flush(self) -> None:
        """Wait until the backlog is gone.

        Cancellation: the backlog stays as it is.
        """
        await self._outbox.flushed()

    def abort(self) -> None:
        """End the connection without another word."""
        self._fall_silent()
        self._scope.cancel()

    def _fall_silent(self) -> None:
        """Say nothing more, and hear nothing."""
        self._closing = self._inbound.deaf = True
        self._outbox.discard()

    def _encode(self, outgoing: Outgoing) -> bytes:
        frame = frame_of(self.codec, self.codec.encode(outgoing))
        outgoing.encoded[self._key] = frame
        return frame

    def _begin_closing(self) -> None:
        self._closing = True
        self._limit_closing()

    def _limit_closing(self) -> None:
        """Have the connection end by itself, if the client takes long to close."""
        self._scope.deadline = trio.current_time() + self._settings.close_timeout

    def _overflow(self) -> None:
        if not self._closing:
            why = "too slow a reader"
            self.meter.enforced(Limit.BACKLOG, why)
            self._cut_short(why)

    @property
    def held(self) -> int:
        """How many bytes wait here: for a slow reader, or for the rest of a message."""
        return self._outbox.backlog + self._inbound.held

    def give_up(self, why: str) -> None:
        """Close with 4008, and free what is held, since others need the memory."""
        if self._closing:
            self.abort()
            return
        self._cut_short(why)
        if self._inbound.held:
            # Its parser keeps what it has until the end, which mustn't take long.
            self._inbound.let_go()
            self.abort()

    def _cut_short(self, why: str) -> None:
        """Close with 4008; of what waits, the client gets no more than the kernel has."""
        self._begin_closing()
        self._inbound.deaf = True
        self._inbound.close(CloseCode.UNRESPONSIVE, why)
        self._outbox.finish_with(self._inbound.replies())

    def _reply(self) -> None:
        frames = self._inbound.replies()
        if frames:
            self._outbox.write(frames)

    def _error(self, code: str, message: str, request_id: str | None = None) -> None:
        self.send(Outgoing(Error(code, message, request_id)))

    def _fail(
        self, code: str, message: str, close_code: CloseCode, request_id: str | None = None
    ) -> None:
        self._inbound.deaf = True
        self._error(code, message, request_id)
        self.close(close_code, message)


def frame_of(codec: Codec, payload: bytes) -> bytes:
    """Return the whole frame of a message. A server's isn't masked, so that it serves all."""
    size = len(payload)
    if size > MAX_SMALL:
        return _frame(codec.is_text, payload)
    return _head(codec.is_text, size) + payload


def _frame(is_text: bool, payload: bytes) -> bytes:
    return Frame(Opcode.TEXT if is_text else Opcode.BINARY, payload).serialize(mask=False)


@lru_cache(2 * MAX_SMALL)
def _head(is_text: bool, size: int) -> bytes:
    # What precedes an unmasked payload depends on nothing else (RFC 6455, section 5.2).
    frame = _frame(is_text, bytes(size))
    return frame[: len(frame) - size]
