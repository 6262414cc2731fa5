"""Frames: reads what either side of a WebSocket sends, for those who watch the connection.

It isn't the library that the product uses: a tester shares no code with what it tests.
"""

import json
import struct
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]
from attrs import define, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MESSAGES = (TEXT, BINARY)
PACKED = "squire.v1+msgpack"
"""The subprotocol whose messages are MessagePack."""


@define(eq=False)
class Frames:
    """Takes the bytes of one direction, and splits them into its HTTP head and its messages."""

    head: bytes | None = None
    """The HTTP request or response, once it's there."""
    _bytes: bytearray = field(factory=bytearray)
    _kind: int = TEXT
    _text: bytearray = field(factory=bytearray)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes; yield whole opcodes and payloads, with fragments put together."""
        self._bytes += data
        if self.head is None:
            end = self._bytes.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head = bytes(self._bytes[:end])
            del self._bytes[: end + 4]
        while (found := self._next()) is not None:
            opcode, is_last, payload = found
            if opcode >= CLOSE:
                yield opcode, payload
                continue
            if opcode != CONTINUATION:
                self._kind = opcode
            self._text += payload
            if is_last:
                text, self._text = bytes(self._text), bytearray()
                yield self._kind, text

    def _next(self) -> tuple[int, bool, bytes] | None:
        data = self._bytes
        if len(data) < 2:
            return None
        size, start = data[1] & 127, 2
        if size >= 126:
            kind = ">H" if size == 126 else ">Q"
            start += struct.calcsize(kind)
            if len(data) < start:
                return None
            [size] = struct.unpack_from(kind, data, 2)
        mask = b""
        if data[1] & 128:
            mask = bytes(data[start : start + 4])
            start += 4
        if len(data) < start + size:
            return None
        first, payload = data[0], bytes(data[start : start + size])
        del data[: start + size]
        return first & 15, bool(first & 128), _masked(payload, mask) if mask else payload


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = b"mask") -> bytes:
    """Return one frame; it's masked, as a client's are, unless `mask` is None."""
    size, masked = len(payload), 0 if mask is None else 128
    first = bytes([(128 if fin else 0) | opcode])
    if size < 126:
        head = bytes([masked | size])
    elif size < 65536:
        head = bytes([masked | 126]) + struct.pack(">H", size)
    else:
        head = bytes([masked | 127]) + struct.pack(">Q", size)
    return first + head + (payload if mask is None else mask + _masked(payload, mask))


def say(message: Any, *, packed: bool = False) -> bytes:
    """Return a client's message as a frame, in JSON or in MessagePack."""
    if packed:
        return frame(BINARY, msgpack.packb(message))
    return frame(TEXT, json.dumps(message).encode())


def understand(payload: bytes, *, packed: bool = False) -> Any:
    """Return what a message says. Raises `ValueError`."""
    return msgpack.unpackb(payload) if packed else json.loads(payload)


def request(gathering: str, *, packed: bool = False) -> bytes:
    """Return the opening request of a client."""
    lines = [
        f"GET /gatherings/{gathering} HTTP/1.1",
        "Host: memory",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    if packed:
        lines.append(f"Sec-WebSocket-Protocol: {PACKED}")
    return "\r\n".join([*lines, "", ""]).encode()
