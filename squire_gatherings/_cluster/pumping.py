"""Pumping: what comes on one stream goes out on another, in both directions."""

from contextlib import suppress

import trio
from attrs import define, field

from squire_gatherings._cluster.edges import Edges

AT_ONCE = 64 * 1024
"""How many bytes are read at once, and are in this process, at most, in each direction."""

_WHY = b"the node has gone"
TRY_AGAIN = bytes([0x88, 2 + len(_WHY)]) + (1012).to_bytes(2, "big") + _WHY
"""A close frame with code 1012 (Service Restart): the client is to come again."""

LAST_WORDS = 1.0
"""How many seconds a client may take to hear them."""


@define(eq=False)
class Pump:
    """Stays in between for one client."""

    client: trio.abc.Stream
    server: trio.abc.HalfCloseableStream
    _edges: Edges = field(factory=Edges)
    _is_cut: bool = False
    """Whether the client may have got a part of something."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Pass on what both say to each other, until the server has said all.

        A client that says that it has said all still hears what the server says. One that is gone
        ends it at once. Where the server is gone without a close frame, the client is told to come
        again, if that can be said where the server's bytes end.
        The streams are left open.

        Cancellation: what has been read and not written is lost.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on_the_clients, nursery.cancel_scope)
                with suppress(trio.BrokenResourceError):
                    await self._pass_on_the_servers()
                nursery.cancel_scope.cancel()
        if self._edges.lacks_close and not self._is_cut:
            with trio.move_on_after(LAST_WORDS), suppress(trio.BrokenResourceError):
                await self.client.send_all(TRY_AGAIN)

    def end(self) -> None:
        """Have `run` end soon: the client is told to come again."""
        self._scope.cancel()

    async def _pass_on_the_servers(self) -> None:
        while data := await self.server.receive_some(AT_ONCE):
            self._is_cut = True
            await self.client.send_all(data)
            self._is_cut = False
            self._edges.follow(bytes(data))

    async def _pass_on_the_clients(self, scope: trio.CancelScope) -> None:
        while True:
            try:
                data = await self.client.receive_some(AT_ONCE)
            except trio.BrokenResourceError:
                scope.cancel()
                return
            # A server that is gone is seen where it's heard: it may have said something before.
            with suppress(trio.BrokenResourceError):
                if not data:
                    await self.server.send_eof()
                    return
                await self.server.send_all(data)
