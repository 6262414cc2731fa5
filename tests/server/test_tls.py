"""TLS: all bytes go through the stream; a fast write to the socket would break it."""

import ssl
from functools import partial

import trio
import trustme

from squire_gatherings import open_hall, serve_stream
from squire_gatherings.client import open_client

OPS = 50
PAD = "x" * 20_000


async def test_a_burst_of_syncs_over_tls_is_answered() -> None:
    """The real sockets have small buffers, so much must wait."""
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    async with open_hall() as hall, trio.open_nursery() as nursery:

        async def serve(stream: trio.SocketStream) -> None:
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
            await serve_stream(hall, trio.SSLStream(stream, ours, server_side=True))

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(60):
            async with (
                open_client(f"wss://localhost:{port}", ssl_context=theirs) as client,
                client.join("room") as author,
                client.join("room") as gathering,
            ):
                async with trio.open_nursery() as submitting:
                    for number in range(OPS):
                        submitting.start_soon(author.submit, {"n": number, "pad": PAD})
                seen: set[int] = set()
                async for change in gathering:
                    assert change.op["pad"] == PAD
                    seen.add(change.op["n"])
                    if len(seen) == OPS:
                        break
                assert seen == set(range(OPS))
                await hall.disperse("room")
                with_notice = [change async for change in gathering]
                assert with_notice == []
                assert gathering.dispersed is not None
                assert gathering.dispersed.reason == "admin"
        nursery.cancel_scope.cancel()
