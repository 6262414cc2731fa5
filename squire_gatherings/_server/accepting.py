"""Accepting: who connects gets a task, is let in, and is served until the connection ends."""

import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from weakref import WeakKeyDictionary

import trio

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.lateness import HELD_UP, is_late
from squire_gatherings._hall.parts import turnstile_of
from squire_gatherings._poller import Poller
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
from squire_gatherings._server.listening import listen
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.server import Server
from squire_gatherings._server.serving import ServerStep, Serving
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import ROUNDS
from squire_gatherings._server.tls import TlsContext
from squire_gatherings._values.identity import Identity

_log = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.1
DOOR_PAUSE = 0.01
"""How many seconds nobody is accepted while all at the door wait for the server."""

ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before others get their turn."""

TASK_NAME = "WebSocket connection"
"""The name of the tasks that serve clients. Trio would make one for each of them: 95 bytes."""

AT_ONCE = 256
"""How many connections have their round of the keep-alive before others get their turn."""

_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


async def serve(
    hall: Hall,
    *,
    host: str | None,
    port: int,
    settings: ServerSettings | None = None,
    ssl_context: TlsContext | None = None,
    listeners: Sequence[socket.socket] = (),
    is_paused: bool = False,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a hall's gatherings at `ws://host:port/gatherings/ID` until cancelled.

    For `nursery.start`, which returns the `Server` once it listens.

    Args:
        hall: The hall that has the gatherings.
        host: A name or an address of this machine; None for all its addresses.
        port: 0 picks one that is free; see `Server.addresses`.
        settings: The limits of each connection.
        ssl_context: For `wss://`: what secures the connections; or a function that is asked for it
            at each new one, so that a certificate can be renewed.
        listeners: Sockets that listen already, and don't block: it serves those who come to them,
            whatever `host` and `port` are, and closes them at the end.
        is_paused: Whether it begins with a pause, until `Server.resume`: another process may still
            have the listeners.
        task_status: `nursery.start` gives it.

    Raises:
        OSError: It can't listen there.

    Cancellation: every client is told that the server goes away, if that needs no waiting.
    """
    settings = settings or ServerSettings()
    with ExitStack() as stack:
        listeners = listeners or await listen(host, port)
        for listener in listeners:
            stack.enter_context(listener)
        flusher, limits, turnstile = Flusher(), limits_of(hall), turnstile_of(hall)
        step = ServerStep(limits.quotas.round, flusher)
        poller: Poller | None = None
        if Poller.is_possible():
            poller = stack.enter_context(Poller(step, lambda: turnstile.is_crowded))
        addresses = [listener.getsockname()[:2] for listener in listeners]
        server = Serving(addresses, listeners, poller, flusher, limits=limits, settings=settings)
        if is_paused:
            server.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            if poller is not None:
                nursery.start_soon(server.read, poller, turnstile)
            nursery.start_soon(keep_alive, server, settings.ping_interval)
            task_status.started(server)
            with server.accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        acceptors.start_soon(_accept, listener, hall, server, ssl_context, nursery)
            await trio.sleep_forever()


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
                    nursery.start_soon(_rounds, server, {connection}, settings.ping_interval)
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


async def room_for(server: Serving, wanted: int) -> int:
    """Return how many of `wanted` clients may come to the door now; 0 after a moment.

    A checkpoint only then. Cancellation: nothing has changed.
    """
    room = server.limits.door.room(server.settings.max_handshakes, wanted, server.coming)
    if not room:
        # Who has been accepted stands at the door, or has somebody give way, in a moment.
        await trio.sleep(0.0 if server.coming else DOOR_PAUSE)
    return room


async def _accept(
    listener: socket.socket,
    hall: Hall,
    server: Serving,
    ssl_context: TlsContext | None,
    nursery: trio.Nursery,
) -> None:
    # It may have been closed (stop_accepting) between becoming readable and our turn.
    while listener.fileno() >= 0:
        await trio.lowlevel.wait_readable(listener)
        if server.is_paused:
            await server.until_resumed()
            continue
        try:
            settings = server.settings
            # A client that comes now waits in the listener's queue, and isn't turned away.
            for _ in range(await room_for(server, ACCEPTED_AT_ONCE)):
                client, address = listener.accept()
                client.setblocking(False)
                server.expect(1)
                arguments = client, address[0], hall, server, settings, ssl_context
                nursery.start_soon(serve_socket, *arguments, name=TASK_NAME)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _TRANSIENT:
                # ECONNABORTED and its like: that client is gone, others will come.
                continue
            server.log_trouble(error)
            # A client that says nothing mustn't take another's descriptor.
            for _ in range(ACCEPTED_AT_ONCE):
                server.limits.door.give_way()
            await trio.sleep(ACCEPT_PAUSE)


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


async def keep_alive(server: Serving, interval: float) -> None:
    """Ping clients that were silent for an interval, drop those silent for another.

    Args:
        server: The server that has the clients.
        interval: The interval, in seconds.

    Cancellation: ends it, and nothing else.
    """
    server.keeps_alive = True
    try:
        await _rounds(server, server.all_connections, interval)
    finally:
        server.keeps_alive = False


async def _rounds(server: Serving, connections: set[WebSocketConnection], interval: float) -> None:
    pause = interval / ROUNDS
    while True:
        due = trio.current_time() + pause
        await trio.sleep_until(due)
        if is_late(due, max(HELD_UP, pause / ROUNDS)):
            # We were kept from listening. What arrived meanwhile is read first, and this is no
            # round in which anybody was silent.
            continue
        if server.is_paused or (server.keeps_alive and connections is not server.all_connections):
            continue
        for number, connection in enumerate(tuple(connections), 1):
            connection.keep_alive()
            if not number % AT_ONCE:
                await trio.lowlevel.checkpoint()
