"""The links of a system: what the watchers know of each, and relays to real sockets."""

import trio
from attrs import define

from squire_gatherings.testing import Link, LinkEnd


@define(eq=False)
class WatchedLink(Link):
    """A connection between a client and the server."""

    troubled: bool = False
    """Whether the client ever couldn't be reached, or didn't answer."""
    is_relayed: bool = False
    """Whether a socket relays what is received here, so that the server gets it later."""

    def stall(self, *, up: bool, down: bool) -> None:
        self.troubled |= up or down
        super().stall(up=up, down=down)


async def relay(end: LinkEnd, stream: trio.abc.Stream) -> None:
    """Copy bytes between a server's end and another stream, until either side ends it."""
    async with end, stream:

        async def up() -> None:
            try:
                while data := await end.receive_some():
                    await stream.send_all(data)
                if isinstance(stream, trio.abc.HalfCloseableStream):
                    await stream.send_eof()
                    return
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async def down() -> None:
            try:
                while data := await stream.receive_some():
                    await end.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(up)
            nursery.start_soon(down)
