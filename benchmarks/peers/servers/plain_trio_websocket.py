"""Plain trio-websocket: a loop of `send_message`."""

from collections import defaultdict

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

rooms: dict[str, set[WebSocketConnection]] = defaultdict(set)


async def handle(request: WebSocketRequest) -> None:
    socket = await request.accept()
    room = rooms[request.path]
    room.add(socket)
    echo = request.path.startswith("/echo/")
    try:
        await socket.send_message("hi")
        while True:
            message = await socket.get_message()
            if echo:
                await socket.send_message(message)
            else:
                for one in tuple(room):
                    await one.send_message(message)
    except ConnectionClosed:
        pass
    finally:
        room.discard(socket)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        print(f"ws://127.0.0.1:{server.port}", flush=True)


trio.run(main)
