"""A hall, and clients that join it by one of the ways in, over streams in memory.

Everything runs on one virtual clock.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair

from squire_gatherings import Hall, ServerSettings, open_hall
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.log import Append
from squire_gatherings.client import Client, open_client
from tests.support import WaitingStore
from tests.ways_in.streams import StreamWay

SELDOM: dict[str, Any] = {
    "client_settings": {"ping_interval": 3600.0},
    "server_settings": ServerSettings(ping_interval=3600.0),
}
"""For worlds in which days pass: pings every 20 s are most of what happens in a day."""

Pair = trio.StapledStream[MemorySendStream, MemoryReceiveStream]
ROOM = "friday-night"


class SlowStore(WaitingStore):
    """A store in which each append takes a second."""

    async def append(self, append: Append) -> None:
        await trio.sleep(1)
        await super().append(append)


@define(eq=False)
class World:
    """A hall whose connections begin and end as a test wants it."""

    nursery: trio.Nursery
    way: StreamWay
    settings: ServerSettings
    hall: Hall | None = None
    """The hall; None while nobody listens."""
    streams: list[Pair] = field(factory=list)
    """The clients' ends, from first to last."""
    opened: int = 0

    async def connect(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.hall is None:
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = memory_stream_pair()
        self.streams.append(ours)
        self.opened += 1
        self.nursery.start_soon(self.way.serve, self.hall, theirs, self.settings, None, None)
        return ours

    def cut(self, back: int = 0) -> None:
        """Break a connection, by default the last, without a word, as a network does."""
        stream = self.streams[-1 - back]
        stream.send_stream.close()
        stream.receive_stream.close()


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
        world = World(nursery, way, server_settings or ServerSettings())
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
