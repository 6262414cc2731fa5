"""`picows` as a server, on uvloop: a loop of `send`."""

import asyncio
from collections import defaultdict

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)

rooms: dict[str, set[WSTransport]] = defaultdict(set)


class Member(WSListener):  # type: ignore[misc,unused-ignore]
    """One connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.echoes = path.startswith("/echo/")

    def on_ws_connected(self, transport: WSTransport) -> None:
        rooms[self.path].add(transport)
        transport.send(WSMsgType.TEXT, b"hi")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            for one in (transport,) if self.echoes else tuple(rooms[self.path]):
                one.send(WSMsgType.TEXT, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        rooms[self.path].discard(transport)


def member(request: WSUpgradeRequest) -> Member:
    path = request.path
    return Member(path.decode() if isinstance(path, bytes) else path)


async def main() -> None:
    server = await ws_create_server(member, "127.0.0.1", 0, backlog=1024)
    print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
