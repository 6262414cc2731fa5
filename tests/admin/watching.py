"""Somebody who watches the live stream over HTTP, on a socket of its own."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h11
import msgspec
import trio
from attrs import define, field

from tests.admin.port import Port


@define(eq=False)
class Watching:
    """A stream that is open, and what was asked of it."""

    port: Port
    _stream: trio.SocketStream
    _http: h11.Connection
    hello: dict[str, Any] = field(factory=dict)
    _number: int = 0
    _text: bytes = b""
    _messages: deque[dict[str, Any]] = field(factory=deque)

    async def ask(self, **asked: Any) -> dict[str, Any]:
        """Ask for something else; return the first news that answers it."""
        self._number += 1
        body = {"count": 50, **asked, "number": self._number}
        answer = await self.port.client.post(f"/live/{self.hello['viewer']}", json=body)
        assert answer.status_code == 200, answer.text
        while True:
            news = await self.next()
            assert news is not None
            if news["number"] == self._number:
                return news

    async def next(self) -> dict[str, Any] | None:
        """Return the next message; None where the stream has ended."""
        while not self._messages:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                # Broken off.
                return None
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())
            elif isinstance(event, h11.Response):
                assert event.status_code == 200
                assert (b"content-type", b"text/event-stream; charset=utf-8") in event.headers
            elif isinstance(event, h11.Data):
                *whole, self._text = (self._text + bytes(event.data)).split(b"\n\n")
                self._messages += [
                    msgspec.json.decode(one.removeprefix(b"data: ")) for one in whole
                ]
            else:
                return None
        return self._messages.popleft()

    async def wait_ended(self) -> None:
        """Wait until the stream has ended."""
        with trio.fail_after(20):
            while await self.next() is not None:
                pass


@asynccontextmanager
async def watching(port: Port) -> AsyncIterator[Watching]:
    """Watch until the block is left."""
    async with await trio.open_tcp_stream("127.0.0.1", port.admin.addresses[0][1]) as stream:
        http = h11.Connection(h11.CLIENT)
        headers = [("Host", "localhost"), ("Authorization", f"Bearer {port.token}")]
        request = h11.Request(method="GET", target="/live", headers=headers)
        await stream.send_all(http.send(request) + http.send(h11.EndOfMessage()))
        watched = Watching(port, stream, http)
        hello = await watched.next()
        assert hello is not None
        watched.hello = hello
        yield watched
