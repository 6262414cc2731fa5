"""Pumping: what comes on one stream goes out on another, in both directions."""

from contextlib import suppress

import trio

AT_ONCE = 64 * 1024
"""How many bytes are read at once, and are in this process, at most, in each direction."""


async def pump(client: trio.abc.Stream, server: trio.SocketStream) -> None:
    """Pass on what a client and a server say to each other, until the server has said all.

    A client that says that it has said all still hears what the server says. One that is gone ends
    it at once. The streams are left open.

    Cancellation: what has been read and not written is lost.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pass_on_the_clients, client, server, nursery.cancel_scope)
        with suppress(trio.BrokenResourceError):
            await _copy(server, client)
        nursery.cancel_scope.cancel()


async def _pass_on_the_clients(
    client: trio.abc.Stream, server: trio.SocketStream, scope: trio.CancelScope
) -> None:
    try:
        await _copy(client, server)
        await server.send_eof()
    except trio.BrokenResourceError:
        scope.cancel()


async def _copy(source: trio.abc.ReceiveStream, to: trio.abc.SendStream) -> None:
    while data := await source.receive_some(AT_ONCE):
        await to.send_all(data)
