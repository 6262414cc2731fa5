"""A proxy that cuts, stalls, delays and truncates at random, as often as it's told to."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import trio
from attrs import define, field

KINDS = ("cut", "stall", "delay", "truncate")


class _Cut(Exception):
    """This connection has had its fault."""


@define(eq=False)
class FaultyProxy:
    """Passes bytes on to `host`:`port`, and on average every `spacing` pieces does a fault.

    A *cut* closes both sides at once; *truncate* passes a part of the piece on first;
    *delay* holds one direction up for a moment; *stall* passes nothing more on, in
    either direction, until the client gives up.
    """

    host: str
    port: int
    random: Random
    wanted: int
    """The number of faults that are left; after them it is a good proxy."""
    spacing: int
    kinds: tuple[str, ...] = KINDS
    moment: float = 0.005
    """The longest delay in seconds."""
    faults: Counter[str] = field(factory=Counter)
    over: trio.Event = field(factory=trio.Event)
    """Set once there has been the last fault."""
    is_away: bool = False
    """Whether it lets nobody through for now."""
    address: tuple[str, int] = ("", 0)
    _scopes: set[trio.CancelScope] = field(factory=set)

    def go_away(self) -> None:
        """Break all connections, and let nobody through until `is_away` is false again."""
        self.is_away = True
        for scope in tuple(self._scopes):
            scope.cancel()

    async def serve(self, client: trio.SocketStream) -> None:
        """Pass on what one client says, and what it is told."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.is_away:
                scope.cancel()
            try:
                await self._serve(client)
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            await trio.aclose_forcefully(client)

    async def _serve(self, client: trio.SocketStream) -> None:
        stalled = trio.Event()
        try:
            server = await trio.open_tcp_stream(self.host, self.port)
        except OSError:
            await trio.aclose_forcefully(client)
            return
        async with client, server:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, client, server, stalled)
                    nursery.start_soon(self._pass_on, server, client, stalled)
            except* (_Cut, trio.BrokenResourceError, trio.ClosedResourceError):
                await trio.aclose_forcefully(client)
                await trio.aclose_forcefully(server)

    async def _pass_on(
        self, source: trio.SocketStream, target: trio.SocketStream, stalled: trio.Event
    ) -> None:
        while True:
            piece = await source.receive_some(self.random.choice((7, 100, 4096)))
            if not piece:
                # When one side closes, both are closed.
                raise _Cut
            if stalled.is_set():
                continue
            match self._fault():
                case "cut":
                    raise _Cut
                case "truncate":
                    await target.send_all(piece[: self.random.randrange(len(piece))])
                    raise _Cut
                case "stall":
                    stalled.set()
                    continue
                case "delay":
                    await trio.sleep(self.random.uniform(0, self.moment))
            await target.send_all(piece)

    def _fault(self) -> str | None:
        if self.faults.total() >= self.wanted or self.random.randrange(self.spacing):
            return None
        # Each kind is as frequent as the others.
        fewest = min(self.faults[kind] for kind in self.kinds)
        kind = self.random.choice([kind for kind in self.kinds if self.faults[kind] == fewest])
        self.faults[kind] += 1
        if self.faults.total() >= self.wanted:
            self.over.set()
        return kind


@asynccontextmanager
async def open_faulty_proxy(
    host: str,
    port: int,
    *,
    seed: int,
    faults: int,
    spacing: int,
    kinds: tuple[str, ...] = KINDS,
) -> AsyncIterator[FaultyProxy]:
    """Listen on a port of its own until the block is left."""
    proxy = FaultyProxy(host, port, Random(seed), faults, spacing, kinds)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.address = listeners[0].socket.getsockname()[:2]
        nursery.start_soon(trio.serve_listeners, proxy.serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
