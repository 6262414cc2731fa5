"""Our own hall behind trio-websocket's server connection: what doing without it gains.

Each connection has trio-websocket's reader task, ours, and a writer task with a queue.
"""

import math
from typing import Any

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)

from squire_gatherings import CloseCode, Connection, Hall, Outgoing, open_hall
from squire_gatherings._values.messages import Join
from squire_gatherings._wire.codecs import JSON


class Bridge(Connection):
    """A `Connection` that leaves sending to a task."""

    def __init__(self, queue: trio.MemorySendChannel[str]) -> None:
        self._queue = queue

    def send(self, outgoing: Outgoing) -> None:
        """Queue a message, encoded once for all."""
        text = outgoing.encoded.get("text")
        if text is None:
            text = outgoing.encoded["text"] = JSON.encode(outgoing)
        self._queue.send_nowait(text.decode())

    def close(self, code: CloseCode, reason: str) -> None:
        """Close after what was queued."""
        self._queue.close()


async def write(socket: WebSocketConnection, queue: trio.MemoryReceiveChannel[str]) -> None:
    try:
        async for text in queue:
            await socket.send_message(text)
    except ConnectionClosed:
        pass


async def handle(hall: Hall, request: WebSocketRequest) -> None:
    socket = await request.accept()
    sender: Any
    sender, queue = trio.open_memory_channel[str](math.inf)
    membership = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, socket, queue)
            assert isinstance(JSON.decode(await socket.get_message()), Join)
            room = request.path.rpartition("/")[2]
            membership = await hall.join(room, Bridge(sender))
            while True:
                message = JSON.decode(await socket.get_message())
                assert not isinstance(message, Join)
                await membership.deliver(message)
    except* ConnectionClosed:
        pass
    finally:
        if membership is not None:
            membership.detach()


async def main() -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:

        async def handle_request(request: WebSocketRequest) -> None:
            await handle(hall, request)

        server = await nursery.start(serve_websocket, handle_request, "127.0.0.1", 0, None)
        print(f"ws://127.0.0.1:{server.port}", flush=True)


trio.run(main)
