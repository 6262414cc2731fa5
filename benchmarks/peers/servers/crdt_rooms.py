"""pycrdt-websocket on uvicorn and uvloop: a room is a shared document.

With --tell, it tells on stdout when it has dropped a room.
"""

import socket
import sys
import time
from typing import Any

import uvicorn
from pycrdt.websocket import ASGIServer, WebsocketServer, YRoom


class Telling(WebsocketServer):
    """A server that tells of each room's end."""

    async def delete_room(self, *, name: str | None = None, room: YRoom | None = None) -> None:
        """Delete the room, and tell."""
        name = name if room is None else self.get_room_name(room)
        await super().delete_room(name=name)
        print("ended", str(name).rpartition("/")[2], time.time() * 1000, flush=True)


rooms = (Telling if "--tell" in sys.argv else WebsocketServer)(auto_clean_rooms=True)
serve_rooms = ASGIServer(rooms)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await serve_rooms(scope, receive, send)
        return
    await receive()
    async with rooms:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(f"ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
config = uvicorn.Config(application, loop="uvloop", log_level="error", ws_max_size=1 << 26)
uvicorn.Server(config).run(sockets=[listener])
