"""Every way in, on a stream that the test makes: in memory, and so on a virtual clock.

The libraries are the real ones: `trio-websocket` and hypercorn read and write the stream as they
would a socket. Whole servers on real sockets are in `tests/ways_in/ways.py`.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from attrs import frozen
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from trio_websocket import wrap_server_stream

from squire_gatherings import Hall, Server, ServerSettings, serve_stream
from tests.support import examples
from tests.ways_in.ways import Counter, application_of, hypercorn_config, let_in

Stream = trio.abc.HalfCloseableStream
Serve = Callable[[Hall, Stream, ServerSettings | None, str | None, Server | None], Awaitable[None]]


@frozen
class StreamWay:
    """One way in."""

    serve: Serve
    """Serves the client at a stream's other end until it has gone.

    Its arguments are the stream, the hall, the settings, and the address. If the test has a
    `Server` of ours, our way in counts the client there.
    """
    slowness: int = 1
    """The factor by which it plays fewer random examples than our own server."""

    def examples(self, number: int, *, long: int) -> int:
        """Return the number of random examples, if our own server plays `number`."""
        return examples(number // self.slowness, long=long // self.slowness)


async def _by_our_server(
    hall: Hall,
    stream: Stream,
    settings: ServerSettings | None = None,
    peer: str | None = None,
    server: Server | None = None,
) -> None:
    await serve_stream(hall, stream, settings, server=server, peer=peer)


async def _by_trio_websocket(
    hall: Hall,
    stream: Stream,
    settings: ServerSettings | None = None,
    peer: str | None = None,
    server: Server | None = None,
) -> None:
    """Serve as `trio_websocket.serve_websocket` serves each connection, whose stream it closes."""
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(60) as connecting:
            request = await wrap_server_stream(nursery, stream)
        if not connecting.cancelled_caught:
            await let_in(hall, request, settings, peer)
        # The library leaves the stream open when the client was the first to close.
        await stream.aclose()
        nursery.cancel_scope.cancel()


@frozen
class _Socket:
    """What hypercorn asks a socket for: both addresses. Without a peer it is a Unix socket."""

    peer: str | None

    @property
    def family(self) -> int:
        return socket.AF_UNIX if self.peer is None else socket.AF_INET

    def getpeername(self) -> Any:
        return "" if self.peer is None else (self.peer, 4711)

    def getsockname(self) -> Any:
        return "/run/server" if self.peer is None else ("192.0.2.80", 80)


@frozen(eq=False)
class _SocketStream(trio.abc.HalfCloseableStream):
    """A stream in memory that has a socket's addresses."""

    _inner: Stream
    socket: _Socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._inner.receive_some(max_bytes))

    async def send_all(self, data: Any) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _by_hypercorn(
    hall: Hall,
    stream: Stream,
    settings: ServerSettings | None = None,
    peer: str | None = None,
    server: Server | None = None,
) -> None:
    """Serve as `hypercorn.trio.serve` serves each connection."""
    config = hypercorn_config()
    app = wrap_app(application_of(hall, settings, Counter()), config.wsgi_max_body_size, "asgi")
    with_socket: Any = _SocketStream(stream, _Socket(peer))
    await TCPServer(app, config, WorkerContext(None), ConnectionState({}), with_socket)


OURS = StreamWay(_by_our_server)
TRIO_WEBSOCKET = StreamWay(_by_trio_websocket, slowness=5)
HYPERCORN = StreamWay(_by_hypercorn, slowness=5)
STREAM_WAYS = {"our server": OURS, "trio-websocket": TRIO_WEBSOCKET, "hypercorn": HYPERCORN}

over_every_way = pytest.mark.parametrize("way", STREAM_WAYS.values(), ids=STREAM_WAYS)
"""Runs a test against each way in; it gets the `way` to serve streams by."""


def over_every_way_but(left_out: StreamWay, why: str) -> pytest.MarkDecorator:
    """Run a test like `over_every_way`, but skip it on one way, for the reason `why`."""
    return pytest.mark.parametrize(
        "way",
        [
            pytest.param(way, id=name, marks=pytest.mark.skip(why) if way is left_out else ())
            for name, way in STREAM_WAYS.items()
        ],
    )
