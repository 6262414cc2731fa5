"""Every way in, on a real socket: our own server, `trio-websocket`, and hypercorn's ASGI."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote

import hypercorn.trio
import pytest
import trio
from attrs import define, field
from hypercorn.config import Config
from trio_websocket import WebSocketConnection, WebSocketRequest, serve_websocket

from squire_gatherings import (
    SUBPROTOCOLS,
    Hall,
    ServerSettings,
    attend,
    attend_asgi,
    open_hall,
    serve,
)

PATH = "/gatherings/"


class Serving(Protocol):
    """What tests ask of a server."""

    @property
    def connections(self) -> int:
        """The number of clients."""
        ...

    async def wait_empty(self) -> None:
        """Wait until no client is left."""
        ...


Way = Callable[[Hall, ServerSettings | None], AbstractAsyncContextManager[tuple[Serving, str]]]


@define
class Counter:
    """Counts the clients that attend."""

    connections: int = 0
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def wait_empty(self) -> None:
        while self.connections:
            await self._left.park()

    def __enter__(self) -> None:
        self.connections += 1

    def __exit__(self, *_: object) -> None:
        self.connections -= 1
        self._left.unpark_all()


@asynccontextmanager
async def our_server(
    hall: Hall, settings: ServerSettings | None
) -> AsyncIterator[tuple[Serving, str]]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve, hall, host="127.0.0.1", port=0, settings=settings)
        )
        host, port = server.addresses[0]
        yield server, f"ws://{host}:{port}"
        server.stop_accepting()
        await hall.close()
        await server.wait_empty()
        nursery.cancel_scope.cancel()


async def let_in(
    hall: Hall,
    request: WebSocketRequest,
    settings: ServerSettings | None = None,
    peer: str | None = None,
) -> WebSocketConnection:
    """Accept a WebSocket as a program does, and attend; return the accepted connection."""
    wanted = request.proposed_subprotocols
    known = next((one for one in wanted if one in SUBPROTOCOLS), None)
    ws = await request.accept(subprotocol=known)
    gathering_id = unquote(request.path.partition("?")[0].removeprefix(PATH))
    await attend(hall, gathering_id, ws, request=request, settings=settings, peer=peer)
    return ws


@asynccontextmanager
async def over_trio_websocket(
    hall: Hall, settings: ServerSettings | None
) -> AsyncIterator[tuple[Serving, str]]:
    counter = Counter()

    async def handle(request: WebSocketRequest) -> None:
        with counter:
            await let_in(hall, request, settings)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
        )
        yield counter, f"ws://127.0.0.1:{server.port}"
        await hall.close()
        await counter.wait_empty()
        nursery.cancel_scope.cancel()


def hypercorn_config() -> Config:
    """Return hypercorn's defaults without its logs."""
    config = Config()
    config.accesslog = config.errorlog = None
    return config


def application_of(
    hall: Hall, settings: ServerSettings | None, counter: Counter
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Make an ASGI application that lets clients into the hall's gatherings."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = (await receive())["type"]
                await send({"type": f"{event}.complete"})
                if event == "lifespan.shutdown":
                    return
        with counter:
            gathering_id = scope["path"].removeprefix(PATH)
            await attend_asgi(hall, gathering_id, scope, receive, send, settings=settings)

    return application


@asynccontextmanager
async def over_hypercorn(
    hall: Hall, settings: ServerSettings | None
) -> AsyncIterator[tuple[Serving, str]]:
    counter = Counter()

    config = hypercorn_config()
    config.bind = ["127.0.0.1:0"]
    application = application_of(hall, settings, counter)
    async with trio.open_nursery() as nursery:
        [bound] = await nursery.start(partial(hypercorn.trio.serve, application, config))
        yield counter, bound.replace("http", "ws", 1)
        await hall.close()
        await counter.wait_empty()
        nursery.cancel_scope.cancel()


WAYS: dict[str, Way] = {
    "our server": our_server,
    "trio-websocket": over_trio_websocket,
    "hypercorn": over_hypercorn,
}

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
"""Runs a test against each way in; it gets the `way` to serve by."""


@asynccontextmanager
async def serving(
    way: Way, settings: ServerSettings | None = None, **hall_settings: Any
) -> AsyncIterator[tuple[Hall, Serving, str]]:
    """Open a hall and serve it; give the hall, the counter of its clients, and the URL."""
    async with open_hall(**hall_settings) as hall:
        with trio.fail_after(300):
            async with way(hall, settings) as (server, url):
                yield hall, server, url
