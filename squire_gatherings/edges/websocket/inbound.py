"""Inbound: from the bytes of one client to its messages, and to what is wrong with them.

Without I/O; the frames are `websockets`' work (its Sans-I/O layer).
"""

from collections.abc import Iterator
from functools import lru_cache

import trio
from attrs import frozen
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from squire_gatherings.edges.codecs import Codec, Incoming, UndecodableMessage
from squire_gatherings.edges.sans_io import QUIET_LOG, retire
from squire_gatherings.edges.websocket.settings import ServerSettings
from squire_gatherings.rules.rate_limit import RateLimit
from squire_gatherings.values.endings import CloseCode

# Looked up once: an attribute of an enumeration costs more than a comparison.
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

MAX_SMALL = 1024
"""Up to which size of messages the headers of their frames are kept."""

MAX_REASON = 123
"""How many bytes of a reason a close frame holds (RFC 6455, section 5.5)."""


@frozen
class Complaint:
    """What the client is to be told; with a `close_code`, it's the last it is told.

    Without a `code`, only the close frame is left to be sent.
    """

    code: str | None
    text: str
    close_code: CloseCode | None = None
    request_id: str | None = None


class ClosedByClient:
    """The client's close frame has come."""


CLOSED_BY_CLIENT = ClosedByClient()

Arrival = Incoming | Complaint | ClosedByClient


class Inbound:
    """The protocol state of one connection. Frames that go out are its business, too.

    `feed` takes bytes, `next` gives what they came to, one at a time, so that whoever must wait
    in between may. A pong, and the answer to a close frame, are among the `replies`.
    """

    __slots__ = (
        "_codec",
        "_frames",
        "_limit",
        "_partial",
        "_partial_is_text",
        "_protocol",
        "_refused",
        "_settings",
        "broken",
        "deaf",
        "has_replies",
    )

    def __init__(self, codec: Codec, settings: ServerSettings) -> None:
        self.deaf = False
        """Whether messages that still come are thrown away; a close frame is heeded."""
        self.broken = False
        """Whether the client broke the protocol, so that nothing more can be understood."""
        self._codec = codec
        self._settings = settings
        self._protocol = Protocol(
            Side.SERVER,
            state=State.OPEN,
            max_size=settings.max_message_size,
            logger=QUIET_LOG,
        )
        self.has_replies = False
        """Whether there may be `replies`."""
        self._frames: Iterator[Frame] = iter(())
        """What has come, and hasn't been asked for."""
        self._partial: bytearray | None = None
        """What has come of a message that isn't whole yet."""
        self._partial_is_text = False
        self._limit = (
            None
            if settings.rate_limit is None
            else RateLimit(settings.rate_limit, settings.rate_burst)
        )
        self._refused = 0

    def feed(self, data: bytes) -> None:
        """Take bytes in, once `next` has given all that came before."""
        self._protocol.receive_data(data)
        self._frames = iter(self._protocol.events_received())  # type: ignore[arg-type]

    def next(self) -> Arrival | None:
        """Return the next message, or what is wrong with it; None when more must come."""
        for frame in self._frames:
            opcode = frame.opcode
            if opcode is _CLOSE:
                self.has_replies = True
                return CLOSED_BY_CLIENT
            if opcode is _PING:
                self.has_replies = True
                continue
            if opcode is _PONG or self.deaf:
                continue
            if frame.fin and self._partial is None and self._limit is None:
                return self._decode(bytes(frame.data), opcode is _TEXT)
            arrival = self._assemble(frame)
            if arrival is not None:
                return arrival
        failure = self._protocol.parser_exc
        if failure is None or self.broken:
            return None
        self.broken = self.deaf = self.has_replies = True
        if isinstance(failure, PayloadTooBig):
            return self._too_big()
        sent = self._protocol.close_sent
        code = CloseCode.PROTOCOL_ERROR if sent is None else CloseCode(sent.code)
        return Complaint(None, str(failure), code)

    # Frames that go out.

    def replies(self) -> list[bytes]:
        """Return the frames that the client's own ask for, once; `next` comes first."""
        self.has_replies = False
        return [data for data in self._protocol.data_to_send() if data]

    def close(self, code: CloseCode, reason: str) -> None:
        """Put a close frame among the `replies`, unless one is or was there."""
        if self._protocol.state is State.OPEN:
            text = reason.encode()[:MAX_REASON].decode(errors="ignore")
            self._protocol.send_close(code, text)

    def ping(self) -> None:
        """Put a ping among the `replies`."""
        self._protocol.send_ping(b"")

    def retire(self) -> None:
        """Take nothing more in, and leave no garbage."""
        retire(self._protocol)

    # What a message is made of.

    def _assemble(self, frame: Frame) -> Incoming | Complaint | None:
        data = frame.data
        is_text = frame.opcode is _TEXT
        if not frame.fin or self._partial is not None:
            # One buffer of bytes: a list of parts would grow with empty fragments.
            if self._partial is None:
                self._partial, self._partial_is_text = bytearray(), is_text
            self._partial += data
            if not frame.fin:
                return None
            data, is_text, self._partial = self._partial, self._partial_is_text, None
        if self._limit is not None and not self._limit.allow(trio.current_time()):
            return self._over_the_limit()
        self._refused = 0
        return self._decode(bytes(data), is_text)

    def _decode(self, data: bytes, is_text: bool) -> Incoming | Complaint:
        if is_text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError as error:
                self.deaf = True
                return Complaint(None, f"not UTF-8: {error.reason}", CloseCode.INVALID_TEXT)
        if is_text is not self._codec.is_text:
            kind = "text" if self._codec.is_text else "binary"
            return Complaint("bad_message", f"{self._codec.subprotocol} goes in {kind} frames")
        try:
            return self._codec.decode(data)
        except UndecodableMessage as error:
            return Complaint(error.code, str(error), request_id=error.request_id)

    def _too_big(self) -> Complaint:
        limit = self._settings.max_message_size
        return Complaint("too_big", f"messages have at most {limit} bytes", CloseCode.TOO_BIG)

    def _over_the_limit(self) -> Complaint:
        self._refused += 1
        if self._refused > self._settings.rate_burst:
            self.deaf = True
            return Complaint("rate_limited", "too many messages", CloseCode.RATE_LIMIT)
        return Complaint("rate_limited", "too many messages; this one was dropped")


def frame_of(codec: Codec, payload: bytes) -> bytes:
    """Return the whole frame of a message; a server's isn't masked, so that it serves all."""
    size = len(payload)
    if size > MAX_SMALL:
        return _frame(codec.is_text, payload)
    return _header(codec.is_text, size) + payload


def _frame(is_text: bool, payload: bytes) -> bytes:
    return Frame(_TEXT if is_text else _BINARY, payload).serialize(mask=False)


@lru_cache(2 * MAX_SMALL)
def _header(is_text: bool, size: int) -> bytes:
    # What precedes an unmasked payload depends on nothing else (RFC 6455, section 5.2).
    frame = _frame(is_text, bytes(size))
    return frame[: len(frame) - size]
