"""`websockets` on asyncio, or on uvloop with --uvloop; its `broadcast` to a set."""

import asyncio
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: dict[str, set[ServerConnection]] = defaultdict(set)


async def handle(socket: ServerConnection) -> None:
    assert socket.request is not None
    path = socket.request.path
    if path.startswith("/echo/"):
        await socket.send("hi")
        async for message in socket:
            await socket.send(message)
        return
    room = rooms[path]
    room.add(socket)
    try:
        await socket.send("hi")
        async for message in socket:
            broadcast(room, message)
    finally:
        room.discard(socket)


async def main() -> None:
    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


factory = uvloop.new_event_loop if "--uvloop" in sys.argv else asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
