"""The server: where the client under test comes in, and which story gets its connections."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from squire_gatherings._conform.links import Link, open_link

CONTROL = "/control"
"""Where a client that connects by itself is told what to do."""
MAX_WAITING = 1000
"""How many connections may wait for a story; a client that opens more floods."""

PREFIX = "/gatherings/"


class CannotListen(Exception):
    """The address can't be had; says why."""


Controlled = Callable[[Link], Awaitable[None]]


@define(eq=False)
class Server:
    """Takes connections, on loopback alone."""

    host: str
    port: int
    _rooms: dict[str, trio.MemorySendChannel[Link]] = field(factory=dict)
    controlled: Controlled | None = None
    """Has the client's control channel; None where the client is a process."""

    @property
    def url(self) -> str:
        """Where clients connect to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"

    def open_room(self, gathering: str) -> trio.MemoryReceiveChannel[Link]:
        """Return where the connections to this gathering arrive."""
        send, receive = trio.open_memory_channel[Link](MAX_WAITING)
        self._rooms[gathering] = send
        return receive

    def close_room(self, gathering: str) -> None:
        """No more are wanted there."""
        self._rooms.pop(gathering).close()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Have one connection, until nobody needs it."""
        async with stream:
            link = await open_link(stream)
            if link is None:
                return
            path = link.request.path.partition("?")[0]
            if path == CONTROL and self.controlled is not None:
                await self.controlled(link)
                return
            room = self._rooms.get(path.removeprefix(PREFIX)) if path.startswith(PREFIX) else None
            try:
                if room is None:
                    raise trio.WouldBlock
                room.send_nowait(link)
            except (trio.WouldBlock, trio.BrokenResourceError):
                # One that comes back to a story which is over.
                await link.refuse(404, "no such gathering")
                return
            await link.released.wait()


@asynccontextmanager
async def open_server(
    host: str, port: int, controlled: Controlled | None = None
) -> AsyncIterator[Server]:
    """Listen at an address; with the port 0, at one that is free. Raises `CannotListen`."""
    try:
        [listener, *others] = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        why = error.strerror or error
        raise CannotListen(f"can't listen at {host}, port {port}: {why}") from None
    for other in others:
        await other.aclose()
    server = Server(host, listener.socket.getsockname()[1], controlled=controlled)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.serve, [listener])
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
