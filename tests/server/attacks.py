"""What attacks share: many sockets from many addresses, and an innocent client."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio
import trio.testing

from squire_gatherings import Server
from squire_gatherings.client import open_client
from tests.cli.process import PATIENCE
from tests.server.raw import RawClient


@asynccontextmanager
async def sockets(
    url: str, count: int, addresses: int = 1, first: int = 1
) -> AsyncIterator[list[socket.socket]]:
    """Connect this many sockets from this many addresses of this machine (127.0.1.x)."""
    parts = urlsplit(url)
    made: list[socket.socket] = []

    def make() -> None:
        for number in range(count):
            own = f"127.0.1.{number % addresses + first}"
            made.append(connect(parts.hostname or "", parts.port or 0, own))

    try:
        await trio.to_thread.run_sync(make)
        yield made
    finally:
        for one in made:
            one.close()


def connect(host: str, port: int, own: str) -> socket.socket:
    return socket.create_connection((host, port), timeout=PATIENCE, source_address=(own, 0))


def is_closed(one: socket.socket) -> bool:
    """Return whether the server has closed it."""
    one.setblocking(False)
    try:
        while one.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


async def served(url: str, gathering: str = "innocent", **settings: Any) -> None:
    """Check that an innocent client gets in, and is served."""
    with trio.fail_after(20):
        async with (
            open_client(url, **settings) as client,
            client.join(gathering) as gathered,
        ):
            assert await gathered.submit({"n": 1})


async def reach(server: Server, handshakes: int) -> None:
    """Wait until this many are at the door, and the server has nothing else to do."""
    while server.numbers().handshakes != handshakes:
        await trio.testing.wait_all_tasks_blocked(0.001)


def joined(url: str, gathering: str = "room", own: str = "127.0.0.1") -> RawClient:
    """A raw client from an address of its own that has joined."""
    client = RawClient(f"{url}/gatherings/{gathering}", own=own)
    client.say(type="join")
    assert client.hear()["type"] == "joined"
    return client
