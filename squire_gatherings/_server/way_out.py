"""The way out of one WebSocket: what a gathering sends a client, and how it's closed."""

import trio

from squire_gatherings._hall.connection import Connection
from squire_gatherings._server.inbound import Inbound, frame_of
from squire_gatherings._server.outbox import Outbox
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Error
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._wire.codecs import Codec


class WayOut(Connection):
    """The half of a connection that sends. A subclass makes `_outbox`, and reads."""

    __slots__ = ("_closing", "_inbound", "_key", "_outbox", "_scope", "_settings", "codec")

    _outbox: Outbox

    def __init__(
        self, codec: Codec, settings: ServerSettings, inbound: Inbound, scope: trio.CancelScope
    ) -> None:
        self.codec = codec
        self._key = codec.subprotocol
        self._settings = settings
        self._inbound = inbound
        self._scope = scope
        """Around all that the connection does, until it's closed or was for `close_timeout`; its
        owner's, since each scope takes 600 bytes."""
        self._closing = False

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

    @property
    def progress(self) -> int:
        """Bytes that have reached the client's host, as far as that can be told."""
        return self._outbox.progress

    @property
    def in_transit(self) -> int:
        """Bytes that are still to reach it."""
        return self._outbox.in_transit

    async def flush(self) -> None:
        """Wait until the backlog is gone. Cancelling it changes nothing."""
        await self._outbox.flushed()

    def abort(self) -> None:
        """End the connection without another word."""
        self._closing = self._inbound.deaf = True
        self._outbox.discard()
        self._scope.cancel()

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
