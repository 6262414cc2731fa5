"""Our hall inside a `trio-websocket` server, by `attend`: what that way in costs."""

from functools import partial

import trio
from trio_websocket import WebSocketRequest, serve_websocket

from squire_gatherings import attend, open_hall


async def main() -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:

        async def handle(request: WebSocketRequest) -> None:
            ws = await request.accept()
            await attend(hall, request.path.rpartition("/")[2], ws)

        server = await nursery.start(
            partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
        )
        print(f"ws://127.0.0.1:{server.port}", flush=True)


trio.run(main)
