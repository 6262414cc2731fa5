"""Portions: where to cut what has come, so that few frames are taken in at a time.

64 KiB may be ten thousand empty frames, which would hold up everybody else. So the parser is given
portions. Only the lengths in the heads of frames are read here (RFC 6455, section 5.2).
"""

from itertools import cycle
from operator import xor

MAX_HEAD = 14
"""How many bytes the head of a masked frame has at most."""


def head_size(head: bytes | bytearray) -> int:
    """Return how many bytes the head of a masked frame has, by its first two."""
    narrow = head[1] & 0x7F
    return 6 if narrow < 126 else 8 if narrow == 126 else MAX_HEAD


def frame_size(head: bytes) -> int | None:
    """Return how many bytes a masked frame has that begins so; None if the head isn't whole."""
    if len(head) < 2:
        return None
    size = head[1] & 0x7F
    if size < 126:
        return 6 + size
    width = 2 if size == 126 else 8
    if len(head) < 2 + width:
        return None
    return 6 + width + int.from_bytes(head[2 : 2 + width], "big")


def is_one_frame(data: bytes) -> bool:
    """Whether this is exactly one frame of up to 64 KiB, as almost everything is that comes."""
    size = len(data)
    if size < 132:
        return size >= 6 and (data[1] & 0x7F) + 6 == size
    return data[1] & 0x7F == 126 and (data[2] << 8 | data[3]) + 8 == size


def payload_of(frame: bytes) -> bytes:
    """Return the payload of a masked frame, which `is_one_frame`."""
    start = 6 if len(frame) < 132 else 8
    size = len(frame) - start
    key = frame[start - 4 : start] * (size // 4 + 1)
    return (int.from_bytes(frame[start:]) ^ int.from_bytes(key[:size])).to_bytes(size)


def whole_frames(data: bytes, most: int) -> int:
    """Return how many frames these bytes are; 0 if they are more than `most`, or one is cut off."""
    end = len(data)
    at = count = 0
    try:
        while at < end and count < most:
            size = data[at + 1] & 0x7F
            if size < 126:
                at += size + 6
            elif size == 126:
                at += (data[at + 2] << 8 | data[at + 3]) + 8
            else:
                return 0
            count += 1
    except IndexError:
        return 0
    return count if at == end else 0


class Cutter:
    """Follows the frames through what comes. Whole frames needn't be shown while `between`."""

    __slots__ = ("_head", "_left", "begun_at", "between", "count", "skipped")

    def __init__(self) -> None:
        self._head = b""
        """The beginning of a head of which more must come."""
        self._left = 0
        """How many bytes of a frame are still to come."""
        self.between = True
        """Whether a frame has ended, and none has begun."""
        self.count = 0
        """How many frames ended, or went on, in the last portion."""
        self.skipped = 0
        """How many bytes of the last portion belong to a frame that began before."""
        self.begun_at = 0
        """Where in the last portion the frame begins that isn't whole yet, unless `between`. Where
        the portion begins, if that frame began before it."""

    def cut(self, data: bytes, start: int, most: int) -> int:
        """Return where a portion ends that begins at `start` and has at most `most` frames (1…)."""
        end_of_portion = self._cut(data, start, most)
        self.between = not self._left and not self._head
        return end_of_portion

    def _cut(self, data: bytes, start: int, most: int) -> int:
        end, at = len(data), start
        self.count = 1
        if self._left:
            at += self._left
            self.skipped = min(at, end) - start
            self._left = max(0, at - end)
        else:
            self.skipped = 0
            self.count = 0
        self.begun_at = start
        while at < end and self.count < most:
            known = len(self._head)
            self.begun_at = start if known else at
            head = self._head + data[at : at + MAX_HEAD]
            size = frame_size(head)
            self.count += 1
            if size is None:
                self._head = head
                self.skipped = end - start if known else self.skipped
                return end
            self._head = b""
            at += size - known
            if known:
                self.skipped = min(at, end) - start
            self._left = max(0, at - end)
        return min(at, end)


def beginning_of_larger(data: bytes, limit: int, most: int) -> bytes:
    """Return the beginning of the payload of the first frame that is too large.

    Args:
        data: What has come; it starts with a frame.
        limit: How many bytes the payload of a frame may have.
        most: How many bytes to return at most.
    """
    at = 0
    while at < len(data):
        size = frame_size(data[at : at + MAX_HEAD])
        if size is None:
            break
        head = head_size(data[at : at + 2])
        if size - head > limit:
            payload = data[at + head : at + head + most]
            return bytes(map(xor, payload, cycle(data[at + head - 4 : at + head])))
        at += size
    return b""
