"""Framing: from the bytes of one client to frames; and the control frames that go out.

It does no I/O. `websockets` (its Sans-I/O layer) makes frames of the bytes; it gets few at a time.
Only what almost always comes needs no parser: one small frame that is a whole message.
"""

from collections.abc import Iterator
from operator import length_hint

import trio
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from squire_gatherings._rules.budget import Budget
from squire_gatherings._server.portions import (
    Cutter,
    head_size,
    is_one_frame,
    payload_of,
    whole_frames,
)
from squire_gatherings._server.reports import ABNORMAL, Close
from squire_gatherings._values.endings import BROKEN_OFF, CloseCode, close_reason
from squire_gatherings._wire.websockets_core import QUIET_LOG, retire

_PONG_HEAD = 0x80 | Opcode.PONG
WHOLE_TEXT, WHOLE_BINARY = 0x80 | Opcode.TEXT, 0x80 | Opcode.BINARY
"""How a frame begins that is a whole message."""
WHOLE = (WHOLE_TEXT, WHOLE_BINARY)
NO_MASK = 0x7F
"""The second byte of a frame that isn't masked is at most this."""

SMALL = 512
"""A frame of so many bytes, alone, is taken apart here: in 1 us, for which the parser takes 3."""

PORTION = 8
"""How many frames the parser is given at a time."""

TURN = 64
"""How many frames are taken in before others get their turn."""


class Framing:
    """The frames of one connection. A subclass makes messages of them.

    `feed` takes bytes. The `replies` have a pong, and the answer to a close frame.
    """

    __slots__ = (
        "_alone",
        "_alone_is_text",
        "_at",
        "_begun",
        "_budget",
        "_cut_off",
        "_cutter",
        "_frames",
        "_head_size",
        "_partial",
        "_partial_is_text",
        "_pinged_at",
        "_portion",
        "_protocol",
        "_small",
        "_unfed",
        "close_code",
        "deaf",
        "held",
        "noise",
        "room",
        "spent",
        "unsettled",
    )

    def __init__(self, max_size: int, budget: Budget, *, takes_apart: bool) -> None:
        self.deaf = False
        """Whether messages that still come are thrown away. A close frame still counts."""
        self.close_code = BROKEN_OFF
        """The code of our close frame, which may be the answer to the client's."""
        self._pinged_at = 0.0
        """When a ping went out that wasn't answered; else 0."""
        self._protocol = Protocol(
            Side.SERVER, state=State.OPEN, max_size=max_size, logger=QUIET_LOG
        )
        self.unsettled = False
        """Whether there may be `replies`, `spent` or `noise`."""
        self._small = min(SMALL, max_size) if takes_apart else 0
        """Frames of up to so many bytes may do without the parser."""
        self._alone: bytes | None = None
        """A message that came so, and that the subclass hasn't looked at."""
        self._alone_is_text = False
        self._frames: Iterator[Frame] = iter(())
        """Frames that the subclass hasn't looked at."""
        self._partial: bytearray | None = None
        """What has come of a message that isn't whole yet."""
        self._partial_is_text = False
        self._budget = budget
        self.held = 0
        """How many bytes are kept of a message whose rest hasn't come, about."""
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
            if len(data) <= self._small and self._takes_apart(data):
                self._alone, self._alone_is_text = payload_of(data), data[0] == WHOLE_TEXT
                return
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

    def _takes_apart(self, data: bytes) -> bool:
        """Whether one frame is so plain that it needs no parser: a whole message, masked."""
        return (
            data[0] in WHOLE
            and data[1] > NO_MASK
            and self._partial is None
            and self._protocol.state is State.OPEN
        )

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

    @property
    def is_empty(self) -> bool:
        """Whether all that came was given."""
        return not (
            self._partial is not None
            or self._alone is not None
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
        if self._alone is not None:
            kind = Opcode.TEXT if self._alone_is_text else Opcode.BINARY
            parts.append(Frame(kind, self._alone).serialize(mask=True))
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

    def retire(self) -> None:
        """Take nothing more in, and leave no garbage."""
        self.let_go()
        if self._protocol.close_sent is not None:
            self.close_code = self._protocol.close_sent.code
        retire(self._protocol)
