"""The WebSocket server: accepts connections and gives each a task."""

import errno
import logging
import math
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from weakref import WeakKeyDictionary

import trio
from attrs import define, field

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.lateness import HELD_UP, is_late
from squire_gatherings._poller import Poller
from squire_gatherings._rules.door import Visitor
from squire_gatherings._server.arrival import Doorway, end_tls, has_unread, let_in, peer_of
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.limits import Limits, Meter, limits_of
from squire_gatherings._server.listening import listen
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.silence import ROUNDS
from squire_gatherings._server.sources import Source
from squire_gatherings._server.tls import TlsContext
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.numbers import ServerNumbers
from squire_gatherings._wire.codecs import Codec
from squire_gatherings._wire.underway import underway

_log = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.1
DOOR_PAUSE = 0.01
"""How many seconds nobody is accepted while all at the door wait for the server."""

LOG_PAUSE = 60.0
"""How many seconds pass until the same trouble is logged again."""

ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before others get their turn."""

TASK_NAME = "WebSocket connection"
"""The name of the tasks that serve clients. Trio would make one for each of them: 95 bytes."""

AT_THE_DOOR = 2
"""How many handshakes and joins begin in a turn: each takes half a millisecond."""

AT_ONCE = 256
"""How many connections have their round of the keep-alive before others get their turn."""

_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@define(eq=False)
class Server:
    """A running server."""

    addresses: Sequence[tuple[str, int]]
    """The hosts and ports it listens on."""
    settings: ServerSettings = field(factory=ServerSettings, kw_only=True)
    """The limits of connections that come from now on; `ping_interval` is that of the start."""
    _listeners: Sequence[socket.socket]
    _poller: Poller | None = None
    """Reads the sockets; None where each task must read its own."""
    _flusher: Flusher | None = None
    _accepting: trio.CancelScope = field(factory=trio.CancelScope)
    _connections: set[WebSocketConnection] = field(factory=set)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _limits: Limits = field(factory=Limits)
    """The limits of the hall that it serves."""
    _turns: trio.Lock = field(factory=trio.Lock)
    _entrance: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(AT_THE_DOOR))
    """Held by a client whose handshake or join is taken in, for one turn."""
    _coming: int = 0
    """How many were accepted whose task hasn't begun yet."""
    _keeps_alive: bool = False
    """Whether a task of its own pings the clients."""
    _logged_at: float = -math.inf
    _doorways: dict[Doorway, socket.socket] = field(factory=dict)
    """Those who haven't shaken hands, where their sockets are all that there is to it."""
    _reading: trio.CancelScope = field(factory=trio.CancelScope)
    """Around the poller, which is stopped while the server is paused."""
    _resumed: trio.Event | None = None
    """Set when a pause ends, while there is one."""

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return len(self._connections)

    def numbers(self) -> ServerNumbers:
        """Return how many are where, and how often limits were enforced."""
        limits = self._limits
        return ServerNumbers(
            connections=len(self._connections),
            clients=limits.clients.total,
            handshakes=len(limits.door),
            gave_way=limits.door.gave_way,
            refused={str(limit): n for limit, n in limits.quotas.refusals.counts.items()},
            memory=limits.quotas.budget.used,
        )

    async def wait_empty(self) -> None:
        """Return once no WebSocket is open. Cancellation: nothing else changes."""
        while self._connections:
            await self._left.park()

    def stop_accepting(self) -> None:
        """Take no more connections; those that are there live on. Later calls do nothing."""
        self._accepting.cancel()
        for listener in self._listeners:
            listener.close()

    # Handing over.

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The sockets on which it listens."""
        return self._listeners

    @property
    def poller(self) -> Poller | None:
        """What reads the plain sockets; None where each task must read its own."""
        return self._poller

    @property
    def limits(self) -> Limits:
        """The limits of the hall that it serves."""
        return self._limits

    @property
    def is_opening(self) -> bool:
        """Whether somebody was accepted, or taken over, whose task hasn't begun yet."""
        return bool(self._coming)

    def expect(self, count: int) -> None:
        """Note that so many are about to come; each `has_come` when its task begins."""
        self._coming += count

    def has_come(self) -> None:
        """Note that the task of somebody who was expected has begun."""
        self._coming -= 1

    def doorways(self) -> Mapping[Doorway, socket.socket]:
        """Return those who haven't shaken hands, where only their sockets are needed for it."""
        return self._doorways

    def all_connections(self) -> Sequence[WebSocketConnection]:
        """Return the WebSockets that are open."""
        return tuple(self._connections)

    def pause(self) -> None:
        """Accept nobody and read nothing until `resume`.

        Who comes waits in the listener's queue, and what comes in the sockets. Streams that
        aren't plain sockets are read all the same.
        """
        if self._resumed is None:
            self._resumed = trio.Event()
            self._reading.cancel()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    async def until_resumed(self) -> None:
        """Return once it isn't paused."""
        while self._resumed is not None:
            await self._resumed.wait()

    async def read(self, poller: Poller) -> None:
        """Have the poller read, with pauses, until cancelled."""
        while True:
            with trio.CancelScope() as self._reading:
                await poller.run()
            await self.until_resumed()

    def connect(
        self,
        stream: trio.abc.Stream,
        source: Source,
        codec: Codec,
        entry: Entry | None,
        meter: Meter,
        settings: ServerSettings,
        max_ops: int,
        nursery: trio.Nursery,
        plain: socket.socket | None,
    ) -> WebSocketConnection:
        """Make a connection that shares what all of them share; for the arguments see there."""
        return WebSocketConnection(
            stream,
            source,
            codec,
            entry,
            meter,
            settings,
            max_ops,
            self._turns,
            self._entrance,
            nursery,
            plain,
            self._flusher,
            underway(stream, plain),
        )

    def _log_trouble(self, error: OSError) -> None:
        now = trio.current_time()
        if now - self._logged_at < LOG_PAUSE:
            return
        self._logged_at = now
        count = self._limits.quotas.budget.connections
        told = {"connections": count, "why": error.strerror or str(error)}
        _log.warning("no connection can be accepted for now", extra=told)


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
        poller = stack.enter_context(Poller()) if Poller.is_possible() else None
        addresses = [listener.getsockname()[:2] for listener in listeners]
        flusher = Flusher()
        limits = limits_of(hall)
        server = Server(addresses, listeners, poller, flusher, limits=limits, settings=settings)
        if is_paused:
            server.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            if poller is not None:
                nursery.start_soon(server.read, poller)
            nursery.start_soon(keep_alive, server, settings.ping_interval)
            task_status.started(server)
            with server._accepting:
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
    said: bytes = b"",
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
        said: What the client has said of its HTTP request already, to another process.

    Cancellation: the client is told that the server goes away, if that needs no waiting.
    """
    settings = settings or ServerSettings()
    if server is None:
        server = _servers.setdefault(hall, Server((), ()))
    limits = server._limits = limits_of(hall)
    peer = peer or peer_of(stream)
    visitor: Visitor | None = None
    connection: WebSocketConnection | None = None
    try:
        async with trio.open_nursery() as nursery:
            known = None if settings.proxies.named(peer) else peer
            visitor = limits.come(settings, known, nursery.cancel_scope.cancel, has_unread(plain))
            if visitor is not None:
                doorway = Doorway(limits, settings, visitor, peer, known is None)
                doorway.said += said
                if plain is not None and ssl_context is None and not doorway.awaits_header:
                    server._doorways[doorway] = plain
                connection, rest = await _arrive(
                    hall, stream, plain, server, nursery, doorway, identity, ssl_context
                )
                # A connection that lives for days needn't keep what was said at the door.
                del doorway
            if connection is not None:
                if not server._keeps_alive:
                    nursery.start_soon(_rounds, server, {connection}, settings.ping_interval)
                await stay(server, connection, rest)
            nursery.cancel_scope.cancel()
    finally:
        if visitor is not None:
            limits.go(visitor)
        if connection is not None and connection.stream is not stream:
            await end_tls(connection.stream)
        # Frames that could go out have; closing needn't wait for anything else.
        await trio.aclose_forcefully(stream)


async def stay(server: Server, connection: WebSocketConnection, received: bytes) -> None:
    """Run a connection as one of the server's; `received` is what has come of it already.

    Cancellation: as for `WebSocketConnection.run`.
    """
    limits = server._limits
    server._connections.add(connection)
    limits.holders.add(connection)
    try:
        await connection.run(received)
    finally:
        connection.meter.leave(trio.current_time(), connection.close_code)
        limits.holders.discard(connection)
        server._connections.discard(connection)
        server._left.unpark_all()


async def _arrive(
    hall: Hall,
    stream: trio.abc.Stream,
    plain: socket.socket | None,
    server: Server,
    nursery: trio.Nursery,
    doorway: Doorway,
    identity: Identity | None,
    ssl_context: TlsContext | None,
) -> tuple[WebSocketConnection | None, bytes]:
    """Let a client in; return its connection, if it comes in, and what it has sent by then."""
    try:
        arrived = await let_in(
            stream, plain, server._poller, server._entrance, nursery, doorway, ssl_context
        )
    finally:
        server._doorways.pop(doorway, None)
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
        hall.settings.max_ops,
        nursery,
        plain,
    )
    return connection, accepted.rest


_servers: WeakKeyDictionary[Hall, Server] = WeakKeyDictionary()
"""The server of each hall that streams without a server of their own share."""


async def _accept(
    listener: socket.socket,
    hall: Hall,
    server: Server,
    ssl_context: TlsContext | None,
    nursery: trio.Nursery,
) -> None:
    # It may have been closed (stop_accepting) between becoming readable and our turn.
    while listener.fileno() >= 0:
        await trio.lowlevel.wait_readable(listener)
        if server._resumed is not None:
            await server.until_resumed()
            continue
        try:
            settings = server.settings
            door, most = server._limits.door, settings.max_handshakes
            room = door.room(most, ACCEPTED_AT_ONCE, server._coming)
            if not room:
                # A client that comes now waits in the listener's queue, and isn't turned away.
                await trio.sleep(DOOR_PAUSE)
            for _ in range(room):
                client, address = listener.accept()
                client.setblocking(False)
                server.expect(1)
                arguments = client, address[0], hall, server, settings, ssl_context
                nursery.start_soon(_serve_socket, *arguments, name=TASK_NAME)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _TRANSIENT:
                # ECONNABORTED and its like: that client is gone, others will come.
                continue
            server._log_trouble(error)
            # A client that says nothing mustn't take another's descriptor.
            for _ in range(ACCEPTED_AT_ONCE):
                server._limits.door.give_way()
            await trio.sleep(ACCEPT_PAUSE)


async def _serve_socket(
    client: socket.socket,
    peer: str,
    hall: Hall,
    server: Server,
    settings: ServerSettings,
    ssl_context: TlsContext | None,
) -> None:
    server.has_come()
    with client:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        except OSError:
            return
        try:
            await serve_stream(
                hall,
                stream,
                settings,
                server=server,
                plain=client,
                peer=peer,
                ssl_context=ssl_context,
            )
        except* Exception as errors:
            # A bug of ours must not end the other connections.
            _log.error("a connection failed", exc_info=errors, extra={"peer": peer})


async def keep_alive(server: Server, interval: float) -> None:
    """Ping clients that were silent for an interval, drop those silent for another.

    Args:
        server: The server that has the clients.
        interval: The interval, in seconds.

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
