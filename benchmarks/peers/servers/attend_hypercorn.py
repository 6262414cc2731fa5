"""Our hall inside an ASGI application on hypercorn, by `attend_asgi`: what that way in costs."""

from functools import partial
from typing import Any

import hypercorn.trio
import trio
from hypercorn.config import Config

from squire_gatherings import attend_asgi, open_hall


async def main() -> None:
    async with open_hall() as hall, trio.open_nursery() as nursery:

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await attend_asgi(hall, scope["path"].rpartition("/")[2], scope, receive, send)
            else:  # the application's own start and end
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})

        config = Config.from_mapping(bind=["127.0.0.1:0"], errorlog=None)
        [url] = await nursery.start(partial(hypercorn.trio.serve, application, config))
        print(url.replace("http", "ws", 1), flush=True)


trio.run(main)
