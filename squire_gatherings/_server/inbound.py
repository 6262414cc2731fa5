"""Inbound: from the frames of one client to its messages, and to what is wrong with them."""

import trio
from attrs import frozen
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode

from squire_gatherings._rules.rate_limit import Spent
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.framing import Framing
from squire_gatherings._server.limits import Meter, refused
from squire_gatherings._server.portions import beginning_of_larger
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.messages import Sync
from squire_gatherings._wire.codecs import JSON, Codec, Incoming, UndecodableMessage

# Looked up once: an attribute of an enumeration costs more than a comparison.
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG

OPS_OF_A_FRAME = 16
"""So many ops of a sync count as one frame more."""

SMALL_FRAGMENT = 1024
"""A fragment of fewer bytes costs more than it says."""

MAX_SEARCHED = 4096
"""How many bytes of too large a message are searched for its id."""


@frozen
class Complaint:
    """What the client is told that was wrong with what it sent."""

    code: str | None
    """The code of the `error` message; None if only the close frame says what was wrong."""
    text: str
    close_code: CloseCode | None = None
    """The code with which the connection is closed then; None if it goes on."""
    request_id: str | None = None


class ClosedByClient:
    """The client's close frame has come."""


CLOSED_BY_CLIENT = ClosedByClient()

Arrival = Incoming | Complaint | ClosedByClient


class Inbound(Framing):
    """The protocol state of one connection.

    `next` gives the messages that came of what was fed, one at a time, so that its caller may wait
    in between. It gives nothing more once `room` is used up, whatever else has come: others get
    their turn then. The caller sets it to `TURN` before it asks again.
    """

    __slots__ = ("_admitted", "_codec", "_is_limited", "_meter", "_quotas", "_settings", "broken")

    def __init__(self, codec: Codec, settings: ServerSettings, meter: Meter) -> None:
        self._is_limited = meter.allowance is not None
        quotas = meter.quotas
        super().__init__(settings.max_message_size, quotas.budget, takes_apart=not self._is_limited)
        self.broken = False
        """Whether the client broke the protocol, so that nothing more can be understood."""
        self._codec = codec
        self._settings = settings
        self._meter = meter
        self._quotas = quotas
        self._admitted = False
        """Whether any message was within the limit so far."""

    def next(self) -> Arrival | None:
        """Return the next message, or what is wrong with it; None when more must come.

        Also None when `room` is below 0.
        """
        while self.room >= 0:
            if self._alone is not None:
                payload, self._alone = self._alone, None
                if not self.deaf:
                    return self._decode(payload, self._alone_is_text)
                self.unsettled = True
                self.noise += 1
            for frame in self._frames:
                opcode = frame.opcode
                if opcode is _CLOSE:
                    self.unsettled = True
                    return CLOSED_BY_CLIENT
                if opcode is _PING:
                    self.unsettled = True
                    self.noise += 1
                    continue
                if opcode is _PONG or self.deaf:
                    if opcode is _PONG and self._pinged_at:
                        self._ponged()
                    self.unsettled = True
                    self.noise += 1
                    continue
                if frame.fin and self._partial is None and not self._is_limited:
                    return self._decode(bytes(frame.data), opcode is _TEXT)
                arrival = self._assemble(frame)
                if arrival is not None:
                    return arrival
            if self._protocol.parser_exc is not None:
                return self._broken()
            if self._at == len(self._unfed):
                self._unfed, self._at = b"", 0
                return None
            self._feed_portion()
        return None

    def _broken(self) -> Complaint | None:
        failure = self._protocol.parser_exc
        if self.broken:
            return None
        self.broken = self.deaf = self.unsettled = True
        if isinstance(failure, PayloadTooBig):
            return self._too_big()
        sent = self._protocol.close_sent
        code = CloseCode.PROTOCOL_ERROR if sent is None else CloseCode(sent.code)
        return Complaint(None, str(failure), code)

    def resume(self) -> None:
        """Note that another process has let the client in, so that it had said something before."""
        self._admitted = True

    def _ponged(self) -> None:
        took = trio.current_time() - self._pinged_at
        self._pinged_at = 0.0
        self._meter.quotas.tally.round_trips.add(took)

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
                self._hold()
                if len(data) < SMALL_FRAGMENT:
                    self.unsettled = True
                    self.noise += 1
                return None
            data, is_text, self._partial = self._partial, self._partial_is_text, None
            self._hold()
        allowance = self._meter.allowance
        if allowance is None:
            return self._decode(bytes(data), is_text)
        now, whole = trio.current_time(), bytes(data)
        spent = allowance.spent(len(whole), now)
        if spent is not None:
            return self._over_the_limit(whole, spent, allowance.refused)
        message = self._decode(whole, is_text)
        if type(message) is Sync:
            spent = allowance.spent_on_ops(len(message.ops), now)
            if spent is not None:
                return self._over_the_limit(whole, spent, allowance.refused)
        self._admitted = True
        return message

    def _decode(self, data: bytes, is_text: bool) -> Incoming | Complaint:
        if is_text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError as error:
                self.deaf = True
                return Complaint(None, f"not UTF-8: {error.reason}", CloseCode.INVALID_TEXT)
        codec = self._codec
        try:
            if is_text is not codec.is_text:
                kind = "text" if codec.is_text else "binary"
                # JSON that came as bytes, or JSON where MessagePack is due.
                found = JSON.skim(data).request_id
                raise UndecodableMessage(f"{codec.subprotocol} goes in {kind} frames", found)
            message = codec.decode(data, self._quotas.settings.max_ops)
        except UndecodableMessage as error:
            self._wasted(data)
            return Complaint(error.code, str(error), request_id=error.request_id)
        if len(data) > SMALL_FRAGMENT:
            if type(message) is Sync:
                more = len(message.ops) // OPS_OF_A_FRAME
                self.unsettled = True
                self.room -= more
                self.spent += more
            else:
                # No other kind of message needs so many bytes.
                self._wasted(data)
        return message

    def _wasted(self, data: bytes) -> None:
        """Count a message that came to nothing, by what it cost to find that out."""
        cost = refused(len(data))
        self.unsettled = True
        self.noise += cost
        self.room -= cost - 2
        self.spent += cost - 2

    def _too_big(self) -> Complaint:
        limit = self._settings.max_message_size
        if self._partial is not None:
            beginning = bytes(self._partial[:MAX_SEARCHED])
        else:
            beginning = beginning_of_larger(self._unfed[self._portion :], limit, MAX_SEARCHED)
        return Complaint(
            TooBig.code,
            f"messages have at most {limit} bytes",
            CloseCode.TOO_BIG,
            self._codec.skim(beginning).request_id,
        )

    def _over_the_limit(self, data: bytes, spent: Spent, refused: int) -> Complaint:
        self._meter.enforced(Limit(spent.value), f"too many {spent.value} from a client")
        request_id = self._codec.skim(data).request_id
        self._wasted(data)
        # If nothing was taken of a client, it can't be told what to repeat: its join.
        if refused > self._settings.rate_burst or not self._admitted:
            self.deaf = True
            text = f"too many {spent.value}"
            return Complaint("rate_limited", text, CloseCode.RATE_LIMIT, request_id)
        text = f"too many {spent.value}; this one was dropped"
        return Complaint("rate_limited", text, request_id=request_id)
