"""A client on a bare socket, which answers nothing by itself: no pong, no close frame."""

import json
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import wsproto
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)


class RawClient:
    """Connects, shakes hands, and then does only what it's told to."""

    def __init__(
        self,
        url: str,
        *,
        receive_buffer: int | None = None,
        own: str = "127.0.0.1",
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.bind((own, 0))
        self.socket.connect((parts.hostname, parts.port))
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events: list[Event] = []
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        extra = [(name.encode(), value.encode()) for name, value in headers]
        self.send(
            Request(
                host=parts.netloc,
                target=target,
                extra_headers=extra,
                subprotocols=list(subprotocols),
            )
        )
        accepted = self.next()
        if not isinstance(accepted, AcceptConnection):
            self.socket.close()
        assert isinstance(accepted, AcceptConnection), accepted
        self.subprotocol = accepted.subprotocol

    def send(self, event: Event) -> None:
        self.socket.sendall(self.protocol.send(event))

    def say(self, **message: Any) -> None:
        self.send(TextMessage(data=json.dumps(message)))

    def next(self) -> Event:
        while not self._events:
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)
            self._events.extend(self.protocol.events())
        return self._events.pop(0)

    def hear(self) -> dict[str, Any]:
        text = ""
        while True:
            event = self.next()
            if isinstance(event, Ping | Pong):
                continue
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                message: dict[str, Any] = json.loads(text)
                return message

    def hear_close(self) -> CloseConnection:
        event = self.next()
        assert isinstance(event, CloseConnection), event
        return event

    def end(self) -> CloseConnection:
        """Hear the close frame and answer it: otherwise the server waits for that, for a while."""
        event = self.hear_close()
        self.send(event.response())
        return event

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()
