"""The WebSocket server: accepts connections and gives each a task."""

import errno
import logging
import math
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any
from weakref import WeakKeyDictionary

import trio
from attrs import define, field

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.lateness import HELD_UP, is_late
from squire_gatherings._poller import Poller
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.handshake import shake_hands
from squire_gatherings._server.limits import Limits
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import ROUNDS
from squire_gatherings._server.sources import PolledSource, Source, StreamSource
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.origins import OriginRule, is_loopback
from squire_gatherings._wire.underway import socket_of, underway

_log = logging.getLogger(__name__)

BACKLOG = 1024
ACCEPT_PAUSE = 0.1
LOG_PAUSE = 60.0
"""For how long the same trouble isn't logged again."""

ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before others get their turn."""

TASK_NAME = "WebSocket connection"
"""Of the tasks that serve clients. Trio would make each of them a name of its own: 95 bytes."""

AT_THE_DOOR = 2
"""How many handshakes and joins begin in a turn: each takes half a millisecond."""

AT_ONCE = 256
"""How many connections have their round of the keep-alive before others get their turn."""

_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


@define(eq=False)
class Server:
    """A running server."""

    addresses: Sequence[tuple[str, int]]
    """The hosts and ports it listens on."""
    _listeners: Sequence[socket.socket]
    _poller: Poller | None = None
    """Reads the sockets; None where each task must read its own."""
    _flusher: Flusher | None = None
    _accepting: trio.CancelScope = field(factory=trio.CancelScope)
    _connections: set[WebSocketConnection] = field(factory=set)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _clients: int = 0
    """How many clients there are, those among them whose handshake is under way."""
    _limits: Limits = field(factory=Limits)
    _turns: trio.Lock = field(factory=trio.Lock)
    _entrance: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(AT_THE_DOOR))
    """Held by a client whose handshake or join is taken in, for one turn."""
    _keeps_alive: bool = False
    """Whether a task of its own pings the clients."""
    _logged_at: float = -math.inf

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return len(self._connections)

    async def wait_empty(self) -> None:
        """Return once no WebSocket is open. Cancellation: nothing else changes."""
        while self._connections:
            await self._left.park()

    def stop_accepting(self) -> None:
        """Take no more connections; those that are there live on. Later calls do nothing."""
        self._accepting.cancel()
        for listener in self._listeners:
            listener.close()

    def _log_trouble(self, error: OSError) -> None:
        now = trio.current_time()
        if now - self._logged_at < LOG_PAUSE:
            return
        self._logged_at = now
        _log.warning("can't accept connections for now, having %d: %s", self._clients, error)


async def serve(
    hall: Hall,
    *,
    host: str | None,
    port: int,
    settings: ServerSettings | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a hall's gatherings at `ws://host:port/gatherings/ID` until cancelled.

    For `nursery.start`, which returns the `Server` once it listens.

    Args:
        hall: The hall that has the gatherings.
        host: A name or an address of this machine; None for all its addresses.
        port: 0 picks one that is free; see `Server.addresses`.
        settings: The limits of each connection.
        task_status: `nursery.start` gives it.

    Raises:
        OSError: It can't listen there.

    Cancellation: every client is told that the server goes away, if that needs no waiting.
    """
    settings = settings or ServerSettings()
    with ExitStack() as stack:
        listeners = await _listen(host, port)
        for listener in listeners:
            stack.enter_context(listener)
        poller = stack.enter_context(Poller()) if Poller.is_possible() else None
        addresses = [listener.getsockname()[:2] for listener in listeners]
        flusher = Flusher()
        server = Server(addresses, listeners, poller, flusher)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            if poller is not None:
                nursery.start_soon(poller.run)
            nursery.start_soon(keep_alive, server, settings.ping_interval)
            task_status.started(server)
            with server._accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        acceptors.start_soon(_accept, listener, hall, server, settings, nursery)
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

    Cancellation: the client is told that the server goes away, if that needs no waiting.
    """
    settings = settings or ServerSettings()
    if server is None:
        server = _servers.setdefault(hall, Server((), ()))
    peer = peer or _peer_of(stream)
    full = settings.max_connections is not None and server._clients >= settings.max_connections
    server._clients += not full
    try:
        async with trio.open_nursery() as nursery:
            accepted = None
            source = _source(stream, plain, server)
            with suppress(trio.BrokenResourceError):
                accepted = await shake_hands(
                    stream,
                    source,
                    server._entrance,
                    nursery,
                    settings.handshake_timeout,
                    peer=peer,
                    full=full,
                    origins=OriginRule(settings.allow_origins, _is_local(stream)),
                )
            if accepted is not None:
                meter = server._limits.enter(settings, peer, trio.current_time())
                rest = accepted.rest
                entry = Entry(hall, accepted.gathering_id, meter, accepted.request, identity)
                connection = WebSocketConnection(
                    stream,
                    source,
                    accepted.codec,
                    entry,
                    settings,
                    hall.settings.max_ops,
                    server._turns,
                    server._entrance,
                    nursery,
                    None if plain is None else plain.send,
                    server._flusher,
                    underway(stream, plain),
                )
                # A connection that lives for days needn't keep what the handshake said.
                del accepted, entry
                server._connections.add(connection)
                if not server._keeps_alive:
                    nursery.start_soon(_rounds, server, {connection}, settings.ping_interval)
                try:
                    await connection.run(rest)
                finally:
                    meter.leave(trio.current_time())
                    server._connections.discard(connection)
                    server._left.unpark_all()
            nursery.cancel_scope.cancel()
    finally:
        server._clients -= not full
        # Frames that could go out have; closing needn't wait for anything else.
        await trio.aclose_forcefully(stream)


_servers: WeakKeyDictionary[Hall, Server] = WeakKeyDictionary()
"""Those that streams without a server of their own share."""


def _peer_of(stream: trio.abc.Stream) -> str | None:
    """Return the address of the other end; None if it has none."""
    found = socket_of(stream)
    if found is None:
        return None
    try:
        peer = found.getpeername()
    except OSError:
        return None
    return peer[0] if isinstance(peer, tuple) else None


def _is_local(stream: trio.abc.Stream) -> bool:
    """Whether the client came to an address that only this machine reaches."""
    found = socket_of(stream)
    if found is None:
        return False
    try:
        own = found.getsockname()
    except OSError:
        return False
    return isinstance(own, tuple) and is_loopback(own[0])


def _source(stream: trio.abc.Stream, plain: socket.socket | None, server: Server) -> Source:
    if plain is None or server._poller is None:
        return StreamSource(stream)
    return PolledSource(server._poller, plain)


async def _listen(host: str | None, port: int) -> list[socket.socket]:
    """Open a standard-library listening socket for each address of `host`.

    Not `trio.open_tcp_listeners`: a connection's own socket object is needed to write to
    it without waiting, and one that refuses after it was closed.
    """
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            if port == 0 and listeners:
                address = (address[0], listeners[0].getsockname()[1], *address[2:])
            try:
                listeners.append(_listener(family, kind, proto, address))
            except OSError as error:
                # "localhost" may name an IPv6 address on a machine that has no IPv6.
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if absent is not None and not listeners:
            raise absent
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    finally:
        absent = None
    return listeners


def _listener(family: int, kind: int, proto: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, kind, proto)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def _accept(
    listener: socket.socket,
    hall: Hall,
    server: Server,
    settings: ServerSettings,
    nursery: trio.Nursery,
) -> None:
    # It may have been closed (stop_accepting) between becoming readable and our turn.
    while listener.fileno() >= 0:
        await trio.lowlevel.wait_readable(listener)
        try:
            for _ in range(ACCEPTED_AT_ONCE):
                client, address = listener.accept()
                client.setblocking(False)
                arguments = client, address[0], hall, server, settings
                nursery.start_soon(_serve_socket, *arguments, name=TASK_NAME)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _TRANSIENT:
                # ECONNABORTED and its like: that client is gone, others will come.
                continue
            server._log_trouble(error)
            await trio.sleep(ACCEPT_PAUSE)


async def _serve_socket(
    client: socket.socket, peer: str, hall: Hall, server: Server, settings: ServerSettings
) -> None:
    with client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        except OSError:
            return
        try:
            await serve_stream(hall, stream, settings, server=server, plain=client, peer=peer)
        except* Exception as errors:
            # A bug of ours must not end the other connections.
            _log.error("a connection failed", exc_info=errors)


async def keep_alive(server: Server, interval: float) -> None:
    """Ping clients that were silent for an interval, drop those silent for another.

    Args:
        server: Whose clients.
        interval: In seconds.

    Cancellation: ends it, and nothing else.
    """
    server._keeps_alive = True
    try:
        await _rounds(server, server._connections, interval)
    finally:
        server._keeps_alive = False


async def _rounds(server: Server, connections: set[WebSocketConnection], interval: float) -> None:
    pause = interval / ROUNDS
    while True:
        due = trio.current_time() + pause
        await trio.sleep_until(due)
        if is_late(due, max(HELD_UP, pause / ROUNDS)):
            # We were kept from listening. What arrived meanwhile is read first, and this is no
            # round in which anybody was silent.
            continue
        if server._keeps_alive and connections is not server._connections:
            continue
        for number, connection in enumerate(tuple(connections), 1):
            connection.keep_alive()
            if not number % AT_ONCE:
                await trio.lowlevel.checkpoint()
