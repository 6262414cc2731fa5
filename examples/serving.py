"""Serving an example's web application, which ends with its hall."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import hypercorn.trio
import trio
from hypercorn.config import Config
from starlette.applications import Starlette

from squire_gatherings import Hall


@asynccontextmanager
async def serve_site(hall: Hall, site: Starlette, host: str, port: int) -> AsyncIterator[str]:
    """Serve for as long as the block lasts; give the URL."""
    config = Config.from_mapping(bind=[f"{host}:{port}"], errorlog=None, graceful_timeout=1.0)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        # Starlette and hypercorn name the types of ASGI differently.
        run = partial(hypercorn.trio.serve, cast(Any, site), config, shutdown_trigger=stop.wait)
        [url] = await nursery.start(run)
        try:
            yield url
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(10):
                await hall.close()  # before the web server stops, so that everybody is told
            stop.set()
