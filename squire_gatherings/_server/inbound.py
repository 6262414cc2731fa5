"""Inbound: from the bytes of one client to its messages, and to what is wrong with them.

It does no I/O. `websockets` (its Sans-I/O layer) makes frames of the bytes; it gets few at a time.
"""

from collections.abc import Iterator
from operator import length_hint

import trio
from attrs import frozen
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from squire_gatherings._rules.rate_limit import Spent
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.limits import Meter, refused
from squire_gatherings._server.portions import (
    Cutter,
    beginning_of_larger,
    head_size,
    is_one_frame,
    whole_frames,
)
from squire_gatherings._server.reports import ABNORMAL, Close
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.endings import BROKEN_OFF, CloseCode, close_reason
from squire_gatherings._values.errors import TooBig
from squire_gatherings._values.messages import Sync
from squire_gatherings._wire.codecs import JSON, Codec, Incoming, UndecodableMessage
from squire_gatherings._wire.websockets_core import QUIET_LOG, retire

# Looked up once: an attribute of an enumeration costs more than a comparison.
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
_PONG_HEAD = 0x80 | Opcode.PONG

PORTION = 8
"""How many frames the parser is given at a time."""

TURN = 64
"""How many frames are taken in before others get their turn."""

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


class Inbound:
    """The protocol state of one connection. It also makes the control frames that go out.

    `feed` takes bytes. `next` gives the messages that came of them, one at a time, so that its
    caller may wait in between. The `replies` have a pong, and the answer to a close frame.

    `next` gives nothing more once `room` is used up, whatever else has come: others get their
    turn then. The caller sets it to `TURN` before it asks again.
    """

    __slots__ = (
        "_admitted",
        "_at",
        "_begun",
        "_budget",
        "_codec",
        "_cut_off",
        "_cutter",
        "_frames",
        "_head_size",
        "_is_limited",
        "_meter",
        "_partial",
        "_partial_is_text",
        "_pinged_at",
        "_portion",
        "_protocol",
        "_quotas",
        "_settings",
        "_unfed",
        "broken",
        "close_code",
        "deaf",
        "held",
        "noise",
        "room",
        "spent",
        "unsettled",
    )

    def __init__(self, codec: Codec, settings: ServerSettings, meter: Meter) -> None:
        self.deaf = False
        """Whether messages that still come are thrown away. A close frame still counts."""
        self.broken = False
        """Whether the client broke the protocol, so that nothing more can be understood."""
        self.close_code = BROKEN_OFF
        """The code of our close frame, which may be the answer to the client's."""
        self._pinged_at = 0.0
        """When a ping went out that wasn't answered; else 0."""
        self._codec = codec
        self._settings = settings
        self._protocol = Protocol(
            Side.SERVER,
            state=State.OPEN,
            max_size=settings.max_message_size,
            logger=QUIET_LOG,
        )
        self.unsettled = False
        """Whether there may be `replies`, `spent` or `noise`."""
        self._frames: Iterator[Frame] = iter(())
        """Frames that `next` hasn't looked at."""
        self._partial: bytearray | None = None
        """What has come of a message that isn't whole yet."""
        self._partial_is_text = False
        self._meter = meter
        self._quotas = meter.quotas
        self._budget = meter.quotas.budget
        self.held = 0
        """How many bytes are kept of a message whose rest hasn't come, about."""
        self._is_limited = meter.allowance is not None
        self._admitted = False
        """Whether any message was within the limit so far."""
        self._cutter = Cutter()
        self._cut_off: bytearray | None = None
        """All bytes of the frame that isn't whole yet. The parser has had its head, if that is
        whole. It gives nothing back, and another process may have to begin with these bytes."""
        self._head_size = 0
        """How many of these bytes the parser has had."""
        self._begun = 0
        """About how many bytes have come of the message that is coming; see `begun`."""
        self._unfed = b""
        """What was fed last. The parser has had it up to `_at`; its last portion began at
        `_portion`."""
        self._at = self._portion = 0
        self.room = TURN
        """How many frames may still be taken in in this turn."""
        self.spent = 0
        """How many frames were taken in beyond the first of what was fed. The reader of this value
        sets it to 0."""
        self.noise = 0
        """How many frames said nothing. The reader of this value sets it to 0."""

    @property
    def begun(self) -> int:
        """How many bytes have come of a message whose rest hasn't; 0 if all that came is whole."""
        if self._cutter.between and self._partial is None:
            return 0
        return max(1, self._begun)

    def feed(self, data: bytes) -> None:
        """Take in what has come, once `next` has given all that came before."""
        if self._cutter.between and is_one_frame(data):
            self._unfed, self._portion, self._at = data, 0, len(data)
            self._protocol.receive_data(data)
            self._frames = iter(self._protocol.events_received())  # type: ignore[arg-type]
            return
        self.room = TURN
        count = whole_frames(data, TURN) if self._cutter.between else 0
        if count:
            # So few that the parser may have them all at once.
            self._unfed, self._portion, self._at = data, 0, len(data)
            self.room -= count
            self.spent += count - 1
            self.unsettled = True
            self._protocol.receive_data(data)
            self._frames = iter(self._protocol.events_received())  # type: ignore[arg-type]
        else:
            self._unfed, self._at = data, 0
            self._feed_portion()

    def _feed_portion(self) -> None:
        cutter, start, data = self._cutter, self._at, self._unfed
        self._at = end = cutter.cut(data, start, PORTION)
        if self._partial is None and (not cutter.skipped or cutter.count > 1):
            self._begun = 0
        self._begun += end - start
        self._portion = start + cutter.skipped
        self.room -= cutter.count
        self.spent += cutter.count - (start == 0)
        self.unsettled = True
        portion = data if end - start == len(data) else data[start:end]
        self._give_the_parser(portion, end - start if cutter.between else cutter.begun_at - start)
        self._frames = iter(self._protocol.events_received())  # type: ignore[arg-type]
        self._hold()

    def _give_the_parser(self, portion: bytes, begun_at: int) -> None:
        """Give it what is whole, and the head of a frame that is cut off; keep the rest of that.

        Args:
            portion: What has come.
            begun_at: Where in it that frame begins.
        """
        cut_off, whole, begun = self._cut_off, portion[:begun_at], portion[begun_at:]
        if cut_off is None:
            self._head_size = 0
        elif whole:
            # By now the frame is whole that was cut off before.
            whole = bytes(memoryview(cut_off)[self._head_size :]) + whole
            cut_off, self._head_size = None, 0
        if whole:
            self._protocol.receive_data(whole)
        if begun:
            cut_off = self._cut_off = cut_off or bytearray()
            cut_off += begun
            of_head = head_size(cut_off) - self._head_size if len(cut_off) > 1 else 0
            if of_head:
                # What is wrong with the frame, as that it's too large, shows by its head.
                more = bytes(cut_off[self._head_size : self._head_size + of_head])
                self._head_size += len(more)
                self._protocol.receive_data(more)
        else:
            self._cut_off = None

    def _hold(self) -> None:
        """Count what is kept."""
        size = 0 if self._cutter.between else self._begun
        if self._partial is not None:
            size = max(size, len(self._partial))
        grown = size - self.held
        if grown:
            self.held = size
            self._budget.parsers += grown
            if grown > 0:
                self._budget.grown()

    def let_go(self) -> None:
        """Count nothing as kept: it's freed when the connection ends, in the next turn."""
        self._budget.parsers -= self.held
        self.held = 0
        self._cut_off = None

    def next(self) -> Arrival | None:
        """Return the next message, or what is wrong with it; None when more must come.

        Also None when `room` is below 0.
        """
        while self.room >= 0:
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

    # Frames that go out.

    def replies(self) -> bytes:
        """Return the frames that the client's own ask for, once; `next` comes first.

        Of several pings only the last is answered (RFC 6455, section 5.5.3).
        """
        self.unsettled = False
        frames = [data for data in self._protocol.data_to_send() if data]
        if len(frames) > 1:
            last = max((n for n, data in enumerate(frames) if data[0] == _PONG_HEAD), default=0)
            frames = [data for n, data in enumerate(frames) if n == last or data[0] != _PONG_HEAD]
        return b"".join(frames)

    def close(self, code: CloseCode, reason: str) -> None:
        """Put a close frame among the `replies`, unless one is or was there."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, close_reason(reason))

    def ping(self) -> None:
        """Put a ping among the `replies`."""
        self._pinged_at = trio.current_time()
        self._protocol.send_ping(b"")

    def resume(self) -> None:
        """Note that another process has let the client in, so that it had said something before."""
        self._admitted = True

    @property
    def is_empty(self) -> bool:
        """Whether all that came was given."""
        return not (
            self._partial is not None
            or self._cut_off
            or self._at != len(self._unfed)
            or length_hint(self._frames)
        )

    def unread(self) -> bytes:
        """Return bytes that lead another parser to what this one has taken in and not given yet.

        Nothing that was given may wait anywhere for its gathering. The frames that this one has
        understood are made anew; those of a message that isn't whole become one. Nothing may be
        taken in afterwards.
        """
        parts: list[bytes] = []
        if self._partial is not None:
            kind = Opcode.TEXT if self._partial_is_text else Opcode.BINARY
            parts.append(Frame(kind, bytes(self._partial), fin=False).serialize(mask=True))
        frames = tuple(self._frames)
        self._frames = iter(frames)
        parts += [frame.serialize(mask=True) for frame in frames]
        parts.append(bytes(self._cut_off or b""))
        parts.append(self._unfed[self._at :])
        return b"".join(parts)

    @property
    def closing(self) -> Close:
        """How the connection was closed, as far as that is known by now."""
        sent, received = self._protocol.close_sent, self._protocol.close_rcvd
        if sent is not None and not self._protocol.close_rcvd_then_sent:
            return Close(int(sent.code), "server", sent.reason)
        if received is not None:
            return Close(received.code, "client")
        return Close(ABNORMAL, "nobody")

    def _ponged(self) -> None:
        took = trio.current_time() - self._pinged_at
        self._pinged_at = 0.0
        self._meter.quotas.tally.round_trips.add(took)

    def retire(self) -> None:
        """Take nothing more in, and leave no garbage."""
        self.let_go()
        if self._protocol.close_sent is not None:
            self.close_code = self._protocol.close_sent.code
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
