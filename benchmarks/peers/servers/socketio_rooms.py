"""python-socketio on uvicorn and uvloop: rooms."""

import socket
from typing import Any
from urllib.parse import parse_qs

import socketio
import uvicorn

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")


async def connect(sid: str, environ: dict[str, Any]) -> None:
    query = parse_qs(environ["QUERY_STRING"])
    [kind], [room] = query["kind"], query["room"]
    await server.save_session(sid, {"to": sid if kind == "echo" else room})
    await server.enter_room(sid, room)


async def message(sid: str, data: Any) -> None:
    session = await server.get_session(sid)
    await server.emit("m", data, room=session["to"])


server.on("connect", connect)
server.on("m", message)
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(f"ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
application = socketio.ASGIApp(server)
config = uvicorn.Config(application, loop="uvloop", log_level="error", lifespan="off")
uvicorn.Server(config).run(sockets=[listener])
