"""`socketify` (uWebSockets): a room is a topic, which uWebSockets publishes to."""

import socket
from typing import Any

from socketify import App, AppListenOptions, CompressOptions, OpCode


def upgrade(response: Any, request: Any, context: Any) -> None:
    key = request.get_header("sec-websocket-key")
    response.upgrade(key, "", "", context, request.get_url())


def entered(connection: Any) -> None:
    connection.subscribe(connection.get_user_data())
    connection.send("hi", OpCode.TEXT)


def said(connection: Any, message: str, opcode: OpCode) -> None:
    path = connection.get_user_data()
    if path.startswith("/echo/"):
        connection.send(message, opcode)
    else:
        app.publish(path, message, opcode)


# It can't tell which port it was given.
with socket.create_server(("127.0.0.1", 0)) as found:
    port = found.getsockname()[1]
app = App()
app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": 1 << 26,
        "max_backpressure": 1 << 26,
        "idle_timeout": 0,
        "upgrade": upgrade,
        "open": entered,
        "message": said,
    },
)
app.listen(
    AppListenOptions(port=port, host="127.0.0.1"),
    lambda _: print(f"ws://127.0.0.1:{port}", flush=True),
)
app.run()
