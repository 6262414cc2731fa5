"""The network: brings clients in memory to a server, and has their links."""

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from squire_gatherings.testing._link import Break, Link, LinkEnd


@define(eq=False)
class Network:
    """Links to one server. `connect` is what `open_client` takes as `open_stream`."""

    nursery: trio.Nursery
    """Has a task for each connection that is served."""
    serve: Callable[[LinkEnd], Awaitable[None]]
    """Serves one client, as `serve_stream` does."""
    is_down: bool = False
    """Whether nobody listens: whoever connects is refused."""
    links: list[Link] = field(factory=list)
    """All links that there ever were, from first to last."""
    new_link: Callable[[str], Link] = Link
    """Makes each link; a test may want some narrow, or slow."""

    async def connect(self, name: str = "") -> LinkEnd:
        """Connect to the server; return the client's end.

        Args:
            name: Whose connection it is.

        Raises:
            ConnectionRefusedError: Nobody listens.

        Cancellation: A checkpoint. Cancelled, it has not connected.
        """
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ConnectionRefusedError(111, "Connection refused")
        link = self.new_link(name)
        self.links.append(link)
        self.nursery.start_soon(self.serve, link.server_end)
        return link.client_end

    def of(self, name: str) -> list[Link]:
        """Return the links of one client, from first to last."""
        return [link for link in self.links if link.name == name]

    def cut(self, name: str | None = None, how: Break = "end") -> None:
        """Break all links, or those of one client, without a word, as a network does."""
        for link in self.links:
            if not link.broken and name in (None, link.name):
                link.cut(how)

    def go_down(self) -> None:
        """Break all links, and let nobody connect until `come_up`."""
        self.is_down = True
        self.cut()

    def come_up(self) -> None:
        """Let clients connect again."""
        self.is_down = False
