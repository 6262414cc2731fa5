"""The server, as a program sees it: where it listens, who is connected, and its end."""

import socket
from collections.abc import Sequence

import trio
from attrs import define, field

from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.limits import Limits
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._values.numbers import ServerNumbers


@define(eq=False)
class Server:
    """A running server."""

    addresses: Sequence[tuple[str, int]]
    """The hosts and ports it listens on."""
    settings: ServerSettings = field(factory=ServerSettings, kw_only=True)
    """The limits of connections that come from now on; `ping_interval` is that of the start."""
    _listeners: Sequence[socket.socket]
    _accepting: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _connections: set[WebSocketConnection] = field(factory=set, init=False)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _limits: Limits = field(factory=Limits, kw_only=True)
    """The limits of the hall that it serves."""

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return len(self._connections)

    def numbers(self) -> ServerNumbers:
        """Return how many are where, and how often limits were enforced."""
        limits = self._limits
        return ServerNumbers(
            connections=len(self._connections),
            clients=limits.clients.total,
            handshakes=len(limits.door),
            gave_way=limits.door.gave_way,
            refused={str(limit): n for limit, n in limits.quotas.refusals.counts.items()},
            memory=limits.quotas.budget.used,
        )

    async def wait_empty(self) -> None:
        """Return once no WebSocket is open.

        Cancellation: nothing else changes.
        """
        await trio.lowlevel.checkpoint()
        while self._connections:
            await self._left.park()

    def stop_accepting(self) -> None:
        """Take no more connections; those that are there live on. Later calls do nothing."""
        self._accepting.cancel()
        for listener in self._listeners:
            listener.close()
