"""`websockets` on Trio (its own integration): a loop of `send`."""

from collections import defaultdict
from functools import partial

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve

rooms: dict[str, set[ServerConnection]] = defaultdict(set)


async def handle(socket: ServerConnection) -> None:
    assert socket.request is not None
    path = socket.request.path
    room = rooms[path]
    room.add(socket)
    try:
        await socket.send("hi")
        async for message in socket:
            if path.startswith("/echo/"):
                await socket.send(message)
                continue
            for one in tuple(room):
                await one.send(message)
    except ConnectionClosed:
        pass
    finally:
        room.discard(socket)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve, handle, 0, host="127.0.0.1", compression=None, ping_interval=None)
        )
        port = server.listeners[0].socket.getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)


trio.run(main)
