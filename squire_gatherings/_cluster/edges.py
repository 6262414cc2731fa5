"""Edges: where, in what a server says to a WebSocket's client, one frame ends and another begins.

Who relays it can say something himself only there: a close frame, once the server is gone.
"""

from attrs import define, field

MOST_HEAD = 64 * 1024
"""How many bytes the answer to the request may have."""

_END = b"\r\n\r\n"
_ACCEPTED = b"HTTP/1.1 101 "
_SMALL, _LARGE = 126, 127
_CLOSE = 8


@define(eq=False)
class Edges:
    """Follows the bytes of one server. Frames of a server aren't masked (RFC 6455, section 5.1)."""

    _head: bytearray | None = field(factory=bytearray)
    """The answer to the request, until it's whole."""
    _is_websocket: bool = False
    _header: bytearray = field(factory=bytearray)
    """The beginning of a frame, until its length is known."""
    _left: int = 0
    """How many bytes of a frame are to come."""

    _has_closed: bool = False
    """Whether a close frame has begun."""

    @property
    def lacks_close(self) -> bool:
        """Whether a close frame can follow here, and none has come."""
        at_edge = self._is_websocket and not self._left and not self._header
        return at_edge and not self._has_closed

    def follow(self, data: bytes) -> None:
        """The server has said more."""
        at = 0
        if self._head is not None:
            seen = max(0, len(self._head) - 3)
            before = len(self._head)
            self._head += data
            end = self._head.find(_END, seen)
            if end < 0:
                if len(self._head) > MOST_HEAD:
                    self._head = None
                return
            self._is_websocket = self._head.startswith(_ACCEPTED)
            at = end + len(_END) - before
            self._head = None
        if self._is_websocket:
            self._follow_frames(data, at)

    def _follow_frames(self, data: bytes, at: int) -> None:
        size, header = len(data), self._header
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            header.append(data[at])
            at += 1
            if len(header) < 2:
                continue
            length = header[1] & 0x7F
            more = 2 if length == _SMALL else 8 if length == _LARGE else 0
            if len(header) < 2 + more:
                continue
            self._has_closed |= header[0] & 0x0F == _CLOSE
            self._left = int.from_bytes(header[2:], "big") if more else length
            header.clear()
