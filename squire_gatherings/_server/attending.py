"""Attending: one client is let in, and is served until its connection ends."""

import logging
import socket
from weakref import WeakKeyDictionary

import trio

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import turnstile_of
from squire_gatherings._rules.door import Visitor
from squire_gatherings._server.arrival import (
    Doorway,
    end_tls,
    has_unread,
    is_local,
    let_in,
    peer_of,
)
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.limits import limits_of
from squire_gatherings._server.pinging import keep_rounds
from squire_gatherings._server.server import Server
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.tls import TlsContext
from squire_gatherings._values.identity import Identity

_log = logging.getLogger(__name__)


async def serve_stream(
    hall: Hall,
    stream: trio.abc.Stream,
    settings: ServerSettings | None = None,
    *,
    server: Server | None = None,
    plain: socket.socket | None = None,
    peer: str | None = None,
    identity: Identity | None = None,
    ssl_context: TlsContext | None = None,
) -> None:
    """Serve one client on any stream (TLS, a Unix socket, ...); close the stream at the end.

    Args:
        hall: The hall that has the gatherings.
        stream: What the client has connected to, before it has sent its HTTP request.
        settings: The connection's limits.
        server: Counts the clients, and what they may send. Without it, all streams of a hall
            share one.
        plain: The non-blocking socket of the stream, if the stream is nothing else (not TLS).
            What it takes at once is written to it without waiting, and the server's poller reads
            it.
        peer: The client's address, under which anonymous clients are limited together. If None,
            it's the socket's.
        identity: Who the client is, if the program knows. Otherwise the hall's `authenticate` is
            asked.

        ssl_context: Secures the stream here, for clients of `wss://`; see `serve`.

    Cancellation: the client is told that the server goes away, if that needs no waiting.
    """
    if server is None:
        server = _servers.setdefault(hall, Serving((), ()))
    if not isinstance(server, Serving):
        raise TypeError("a server is made by `serve`")
    await serve_client(
        hall,
        stream,
        settings or ServerSettings(),
        server,
        plain=plain,
        peer=peer,
        identity=identity,
        ssl_context=ssl_context,
    )


async def serve_client(
    hall: Hall,
    stream: trio.abc.Stream,
    settings: ServerSettings,
    server: Serving,
    *,
    plain: socket.socket | None = None,
    peer: str | None = None,
    identity: Identity | None = None,
    ssl_context: TlsContext | None = None,
    beginning: Beginning | None = None,
) -> None:
    """Serve one client as `serve_stream` does, which may have come to another process first.

    Args:
        hall: See `serve_stream`, also for all that isn't here.
        stream: See there.
        settings: See there.
        server: See there.
        plain: See there.
        peer: See there.
        identity: See there.
        ssl_context: See there.
        beginning: What that process knows of it.

    Cancellation: as of `serve_stream`.
    """
    beginning = beginning or Beginning()
    limits = server.use(limits_of(hall))
    peer = peer or peer_of(stream)
    visitor: Visitor | None = None
    connection: WebSocketConnection | None = None
    try:
        async with trio.open_nursery() as nursery:
            is_proxied = beginning.is_proxied
            if is_proxied is None:
                is_proxied = settings.proxies.named(peer)
            known = None if is_proxied else peer
            visitor = limits.come(settings, known, nursery.cancel_scope.cancel, has_unread(plain))
            if visitor is not None:
                doorway = Doorway(limits, settings, visitor, peer, is_proxied)
                doorway.said += beginning.said
                beginning.said.clear()
                doorway.passed, doorway.router = beginning.passed, server.router
                doorway.is_local = (
                    is_local(stream) if beginning.is_local is None else beginning.is_local
                )
                if plain is not None and ssl_context is None and not doorway.awaits_header:
                    server.doorways[doorway] = plain
                connection, rest = await _arrive(
                    hall, stream, plain, server, nursery, doorway, identity, ssl_context
                )
                way = doorway.way
                # A connection that lives for days needn't keep what was said at the door.
                del doorway, beginning
                if way is not None:
                    limits.door.leave(visitor)
                    await way()
            if connection is not None:
                if not server.keeps_alive:
                    nursery.start_soon(keep_rounds, server, {connection}, settings.ping_interval)
                await stay(server, connection, rest)
                # Thousands may have been told at once that this is the end: all are told first.
                await turnstile_of(hall).wait_to_go(connection)
            if nursery.child_tasks:
                nursery.cancel_scope.cancel()
    finally:
        if visitor is not None:
            limits.go(visitor)
        if connection is not None and connection.stream is not stream:
            await end_tls(connection.stream)
        # Frames that could go out have; closing needn't wait for anything else.
        if isinstance(stream, trio.SocketStream):
            stream.socket.close()
        else:
            await trio.aclose_forcefully(stream)


async def stay(server: Serving, connection: WebSocketConnection, received: bytes) -> None:
    """Run a connection as one of the server's; `received` is what has come of it already.

    Cancellation: as for `WebSocketConnection.run`.
    """
    limits = server.limits
    server.all_connections.add(connection)
    limits.holders.add(connection)
    try:
        await connection.run(received)
    finally:
        connection.meter.leave(trio.current_time(), connection.close_code)
        limits.holders.discard(connection)
        server.has_left(connection)


async def _arrive(
    hall: Hall,
    stream: trio.abc.Stream,
    plain: socket.socket | None,
    server: Serving,
    nursery: trio.Nursery,
    doorway: Doorway,
    identity: Identity | None,
    ssl_context: TlsContext | None,
) -> tuple[WebSocketConnection | None, bytes]:
    """Let a client in; return its connection, if it comes in, and what it has sent by then."""
    try:
        arrived = await let_in(
            stream, plain, server.poller, server.entrance, nursery, doorway, ssl_context
        )
    finally:
        server.doorways.pop(doorway, None)
    if arrived is None:
        return None, b""
    limits, settings, accepted = doorway.limits, doorway.settings, arrived.accepted
    meter = limits.enter(settings, doorway.peer, trio.current_time(), doorway.visitor)
    plain = plain if arrived.stream is stream else None
    entry = Entry(hall, accepted.gathering_id, meter, accepted.request, identity)
    connection = server.connect(
        arrived.stream,
        arrived.source,
        accepted.codec,
        entry,
        meter,
        settings,
        nursery,
        plain,
    )
    return connection, accepted.rest


_servers: WeakKeyDictionary[Hall, Serving] = WeakKeyDictionary()
"""The server of each hall that streams without a server of their own share."""


async def serve_socket(
    client: socket.socket,
    peer: str | None,
    hall: Hall,
    server: Serving,
    settings: ServerSettings,
    ssl_context: TlsContext | None = None,
    beginning: Beginning | None = None,
) -> None:
    """Serve a client of a server that was expected (`Serving.expect`), and close its socket.

    Args:
        client: A non-blocking socket.
        peer: The client's address.
        hall: The hall that has the gatherings.
        server: The server.
        settings: The connection's limits.
        ssl_context: See `serve_stream`.
        beginning: See `serve_client`.

    Cancellation: as of `serve_stream`.
    """
    try:
        if client.family != getattr(socket, "AF_UNIX", None):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
    except OSError:
        server.has_come()
        client.close()
        return
    server.has_come()
    with client:
        try:
            # Not by `serve_expected`: a frame for each connection is memory for each.
            await serve_client(
                hall,
                stream,
                settings,
                server,
                plain=client,
                peer=peer,
                ssl_context=ssl_context,
                beginning=beginning,
            )
        except* Exception as errors:
            _log_fault(errors, peer)


async def serve_expected(
    hall: Hall,
    stream: trio.abc.Stream,
    server: Serving,
    peer: str | None,
    beginning: Beginning,
) -> None:
    """Serve one that was expected (`Serving.expect`) as `serve_client` does, and log faults."""
    server.has_come()
    try:
        await serve_client(hall, stream, server.settings, server, peer=peer, beginning=beginning)
    except* Exception as errors:
        _log_fault(errors, peer)


def _log_fault(errors: ExceptionGroup, peer: str | None) -> None:
    """Note a bug of ours, which must not end the other connections."""
    _log.error("a connection failed", exc_info=errors, extra={"peer": peer})
