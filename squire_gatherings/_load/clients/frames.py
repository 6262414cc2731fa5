"""WebSocket frames, as lean as a load generator needs them (RFC 6455, section 5).

Frames go out under a masking key of zeros, which spares us the masking and costs the
server as much as any other key: keys protect proxies from hostile browsers, not us.
"""

import base64
import hashlib
import os

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_CONTINUATION = 0
_ZEROS = b"\0\0\0\0"
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_PAYLOAD = 64 * 1024 * 1024

NO_STATUS = 1005


class BadFrame(Exception):
    """What came isn't a frame that a server may send."""


def text(payload: bytes) -> bytes:
    """Return a text frame of a client."""
    return _frame(0x80 | TEXT, payload)


def ping(payload: bytes = b"") -> bytes:
    """Return a ping of a client."""
    return _frame(0x80 | PING, payload)


def pong(payload: bytes) -> bytes:
    """Return the answer to a ping."""
    return _frame(0x80 | PONG, payload)


def close(payload: bytes) -> bytes:
    """Return a close frame; `payload` is the server's, to be answered with the same."""
    return _frame(0x80 | CLOSE, payload)


def close_code(payload: bytes) -> int:
    """Return the code in a close frame's payload."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_STATUS


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + _ZEROS + payload
    if size < 65536:
        return bytes((first, 0xFE)) + size.to_bytes(2, "big") + _ZEROS + payload
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + _ZEROS + payload


class FrameReader:
    """Cuts a server's bytes into (opcode, payload) of whole messages and control frames."""

    __slots__ = ("_parts", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return what has become whole; raises `BadFrame`."""
        if self._rest:
            data = self._rest + data
        whole: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size >= 126:
                if size > 127:
                    raise BadFrame("a server's frame is masked")
                width = 2 if size == 126 else 8
                if end - start < width:
                    break
                size = int.from_bytes(data[start : start + width], "big")
                start += width
                if size > MAX_PAYLOAD:
                    raise BadFrame(f"a frame of {size} bytes")
            if end - start < size:
                break
            at = start + size
            payload = data[start:at]
            if first == 0x81 or first >= 0x88:
                whole.append((first & 0x0F, payload))
            else:
                self._fragment(first, payload, whole)
        self._rest = data[at:]
        return whole

    def _fragment(self, first: int, payload: bytes, whole: list[tuple[int, bytes]]) -> None:
        opcode = first & 0x7F
        if opcode not in (_CONTINUATION, TEXT) or (opcode == _CONTINUATION) != bool(self._parts):
            raise BadFrame(f"a frame that begins with {first:#x}")
        # An empty first fragment is a fragment, too.
        self._parts.append(payload)
        if first & 0x80:
            whole.append((TEXT, b"".join(self._parts)))
            self._parts = []


class Handshake:
    """The opening handshake of one client."""

    __slots__ = ("_buffer", "_expected", "request")

    def __init__(self, host: str, port: int, path: str) -> None:
        key = base64.b64encode(os.urandom(16))
        self._expected = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: {netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key.decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: squire.v1+json\r\n\r\n"
        ).encode()
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """Return what follows the answer once that is there; raises `BadFrame` if refused."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            if len(head) > 16384:
                raise BadFrame("the answer to the handshake doesn't end")
            return None
        status, *lines = head.split(b"\r\n")
        if status.split(b" ")[1:2] != [b"101"]:
            words = status.decode("latin-1") + " " + rest.decode("latin-1").strip()
            raise BadFrame(f"the server answered {words[:200]}")
        for line in lines:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"sec-websocket-accept":
                if value.strip() != self._expected:
                    raise BadFrame("the handshake's answer is for another key")
                return rest
        raise BadFrame("the handshake's answer has no Sec-WebSocket-Accept")
