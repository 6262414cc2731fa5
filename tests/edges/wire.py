"""A wire: a real socket to a server, to which a test sends any bytes that it likes."""

import json
import socket
import ssl
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.system.frames import BINARY, CLOSE, PING, PONG, TEXT, Frames, frame, request

PATIENCE = 60.0
"""Seconds after which a test fails that waits for anything."""


class Wire:
    """One connection. It answers nothing by itself."""

    def __init__(
        self,
        url: str,
        *,
        receive_buffer: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect((parts.hostname, parts.port))
        if context is not None:
            self.socket = context.wrap_socket(
                self.socket, server_hostname=parts.hostname, suppress_ragged_eofs=False
            )
        self.frames = Frames()
        self.heard: list[tuple[int, bytes]] = []

    def shake_hands(self, gathering: str, subprotocol: str | None = None) -> None:
        asked = request(gathering)
        if subprotocol is not None:
            asked = asked[:-2] + f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n".encode()
        self.send(asked)
        while self.frames.head is None:
            self._receive()
        assert self.frames.head.startswith(b"HTTP/1.1 101"), self.frames.head

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def say(self, **message: Any) -> None:
        self.send(frame(TEXT, json.dumps(message).encode()))

    def next(self) -> tuple[int, bytes]:
        """Return the next frame, or message; raise `EOFError` at the end."""
        while not self.heard:
            self._receive()
        return self.heard.pop(0)

    def hear(self) -> dict[str, Any]:
        """Return the next message."""
        while True:
            opcode, payload = self.next()
            assert opcode != CLOSE, payload
            if opcode == TEXT:
                message: dict[str, Any] = json.loads(payload)
                return message

    def join(self, gathering: str, **more: Any) -> dict[str, Any]:
        """Shake hands and join."""
        self.shake_hands(gathering)
        self.say(type="join", **more)
        return self.hear()

    def until_pong(self, payload: bytes) -> list[tuple[int, bytes]]:
        """Send a ping; return the messages that came before its pong."""
        self.send(frame(PING, payload))
        found: list[tuple[int, bytes]] = []
        while (one := self.next()) != (PONG, payload):
            found.append(one)
        return found

    def until_the_end(self) -> list[tuple[int, bytes]]:
        """Return what comes until the other side has closed the connection.

        Its close frame is answered by the end of ours.
        """
        found: list[tuple[int, bytes]] = []
        try:
            while True:
                found.append(self.next())
                if found[-1][0] == CLOSE:
                    self.socket.shutdown(socket.SHUT_WR)
        except (EOFError, OSError):
            return found

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.heard += self.frames.feed(data)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()


__all__ = ["BINARY", "CLOSE", "PATIENCE", "PING", "PONG", "TEXT", "Wire", "frame"]
