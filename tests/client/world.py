"""A hall, and clients that join it by one of the ways in, over streams in memory.

Everything runs on one virtual clock.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from squire_gatherings import Hall, ServerSettings, open_hall
from squire_gatherings._stores import MemoryStore
from squire_gatherings.client import Client, open_client
from squire_gatherings.testing import LinkEnd, Network
from tests.ways_in.streams import StreamWay

SELDOM: dict[str, Any] = {
    "client_settings": {"ping_interval": 3600.0},
    "server_settings": ServerSettings(ping_interval=3600.0),
}
"""For worlds in which days pass: pings every 20 s are most of what happens in a day."""

ROOM = "friday-night"


@define(eq=False)
class World:
    """A hall whose connections begin and end as a test wants it."""

    way: StreamWay
    settings: ServerSettings
    network: Network = field(init=False)
    hall: Hall | None = None
    """The hall; None while nobody listens."""

    @property
    def opened(self) -> int:
        """How many connections there were."""
        return len(self.network.links)

    async def connect(self) -> LinkEnd:
        self.network.is_down = self.hall is None
        return await self.network.connect()

    async def serve(self, end: LinkEnd) -> None:
        assert self.hall is not None
        await self.way.serve(self.hall, end, self.settings, None, None)

    def cut(self, back: int = 0) -> None:
        """Break a connection, by default the last, without a word, as a network does."""
        self.network.links[-1 - back].cut()


@asynccontextmanager
async def a_world(
    way: StreamWay,
    *,
    store: Any = None,
    client_settings: dict[str, Any] | None = None,
    server_settings: ServerSettings | None = None,
    **hall_settings: Any,
) -> AsyncIterator[tuple[World, Client]]:
    async with trio.open_nursery() as nursery:
        world = World(way, server_settings or ServerSettings())
        world.network = Network(nursery, world.serve)
        async with open_hall(store=store or MemoryStore(), **hall_settings) as hall:
            world.hall = hall
            async with open_client(
                "ws://memory", open_stream=world.connect, **(client_settings or {})
            ) as client:
                yield world, client
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], news: Callable[[], trio.Event]) -> None:
    """Wait until something is true; check at each piece of news."""
    while not condition():
        await news().wait()
