"""Moving: connections that another process goes on with, and those that we go on with for one.

The process that leaves changes nothing about its connections, so that it can go on itself. The one
that arrives makes its connections ready while the other one still serves them: each has its task,
its gathering and its place with the poller, but it is mute, and isn't read, until it is its own.
Those that aren't in a gathering yet wait at a gate.
"""

import logging
import socket
from collections.abc import Iterable, Iterator, Mapping

import trio
from attrs import define, field

from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.moving import NotAtRest
from squire_gatherings._server.arrival import Doorway
from squire_gatherings._server.attending import serve_client, stay
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.sources import PolledSource
from squire_gatherings._values.handover import ConnectionState, Newcomer
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._wire.codecs import CODECS

_log = logging.getLogger(__name__)


Going = WebSocketConnection | Doorway
"""Whoever can go along."""


class JustCome(NotAtRest):
    """Somebody can go along whom the other process doesn't have."""


@define(eq=False)
class Departures:
    """The connections of one server that are to go along, by the numbers they go under."""

    server: Serving
    _numbers: dict[Going, int] = field(factory=dict)
    _last: int = 0

    def newcomers(self) -> list[tuple[Newcomer, socket.socket]]:
        """Give the connections that can go along, and weren't given before."""
        found: list[tuple[Newcomer, socket.socket]] = []
        numbers = self._numbers
        for one in self._going():
            if one in numbers:
                continue
            self._last += 1
            numbers[one] = number = self._last
            if isinstance(one, Doorway):
                found.append((Newcomer(number, one.peer, None), self.server.doorways[one]))
            elif one.plain is not None:
                subprotocol = one.codec.subprotocol
                newcomer = Newcomer(number, one.meter.peer, subprotocol, one.request)
                found.append((newcomer, one.plain))
        return found

    def can_go(self, connection: Connection) -> bool:
        """Whether another process could go on with a connection."""
        return isinstance(connection, WebSocketConnection) and connection.plain is not None

    def number_of(self, connection: Connection) -> int | None:
        """Return the number of a connection that goes along, or None."""
        if isinstance(connection, WebSocketConnection) and connection.can_go:
            return self._numbers.get(connection)
        return None

    @property
    def count(self) -> int:
        """How many were given."""
        return len(self._numbers)

    def gone(self) -> list[int]:
        """Return the numbers of those that were given and don't go along after all."""
        gone = self._numbers.keys() - set(self._going())
        return [self._numbers.pop(one) for one in gone]

    def states(self, ahead: float) -> tuple[list[ConnectionState], list[int]]:
        """Return what is on its way in the connections that go along, and who doesn't after all.

        Those in a gathering in which nothing is on its way are left out.

        Args:
            ahead: How many seconds the clock that both processes have is ahead of Trio's.

        Raises:
            NotAtRest: Something is under way in one of them.
            JustCome: One wasn't given.
        """
        found: list[ConnectionState] = []
        count = 0
        for one in self._going():
            number = self._numbers.get(one)
            if number is None:
                raise JustCome("a client has just come")
            count += 1
            if isinstance(one, Doorway):
                state = None
                if not one.has_spoken:
                    state = ConnectionState(number, bytes(one.said), b"")
            elif one.is_quiet:
                continue
            else:
                state = one.state(number, ahead)
            if state is None:
                raise NotAtRest("what a client has said waits to be processed")
            found.append(state)
        return found, [] if count == len(self._numbers) else self.gone()

    def leave(self) -> None:
        """Forget the connections that went along: our copies of their sockets are closed."""
        for one in tuple(self._numbers):
            if isinstance(one, Doorway):
                one.visitor.give_way()
            else:
                one.leave()

    def _going(self) -> Iterator[Going]:
        for connection in self.server.all_connections:
            if connection.can_go:
                yield connection
        yield from tuple(self.server.doorways)


@define(eq=False)
class _Gate:
    """Where a connection waits, ready, until it is in a gathering, or ours, or nobody's."""

    client: socket.socket
    newcomer: Newcomer
    connection: WebSocketConnection | None = None
    """It, once it's ready, if it has shaken hands."""
    is_ready: bool = False
    received: bytes | None = None
    """What it begins with; None if it never becomes ours."""
    opened: trio.Event = field(factory=trio.Event)
    has_begun: bool = False
    """Whether its task has what it begins with."""


@define(eq=False)
class Arrivals:
    """The connections of another process that become one server's."""

    hall: Hall
    server: Serving
    settings: ServerSettings
    nursery: trio.Nursery
    """Has the connections' tasks."""
    connections: dict[int, WebSocketConnection] = field(factory=dict)
    """Those that have shaken hands, by number."""
    _gates: dict[int, _Gate] = field(factory=dict)
    _under_way: list[_Gate] = field(factory=list)
    """Those of which the tasks haven't begun."""

    def welcome(self, newcomer: Newcomer, descriptor: int) -> None:
        """Make a connection ready. Its descriptor is ours from now on."""
        gate = _Gate(socket.socket(fileno=descriptor), newcomer)
        self._gates[newcomer.number] = gate
        self._under_way.append(gate)
        self.nursery.start_soon(self._serve, gate)

    async def wait_ready(self) -> None:
        """Wait until all are ready that came so far. A checkpoint only if one isn't."""
        while any(not gate.is_ready for gate in self._under_way):
            await trio.lowlevel.checkpoint()
        self._under_way.clear()

    def admit(self, memberships: Mapping[int, Membership]) -> None:
        """Have connections be in a gathering, still mute."""
        now = trio.current_time()
        for number, membership in memberships.items():
            connection, gate = self.connections[number], self._gates[number]
            connection.become(membership)
            if not gate.opened.is_set():
                connection.meter.resume(membership.identity.user, now)
                self._open(gate, b"")

    def drop(self, numbers: Iterable[int]) -> None:
        """Let go of connections that don't come after all."""
        for number in numbers:
            gate = self._gates.pop(number)
            connection = self.connections.pop(number, None)
            if not gate.opened.is_set():
                self._open(gate, None)
            elif connection is not None:
                connection.leave()

    def begin(self, states: list[ConnectionState], ahead: float) -> None:
        """From now on they are ours.

        Args:
            states: What is on its way. Those that aren't in a gathering, and have no state, are
                closed.
            ahead: How many seconds Trio's clock is ahead of the one that both processes have.
        """
        for one in self.connections.values():
            one.take_over()
        for state in states:
            gate, connection = self._gates[state.number], self.connections.get(state.number)
            if connection is not None:
                connection.resume(state, ahead)
            if not gate.has_begun:
                gate.received = state.unread
            elif connection is not None:
                connection.go_on(state.unread)
        for gate in self._gates.values():
            if not gate.opened.is_set():
                self._open(gate, gate.received)
        self._gates.clear()
        self.connections.clear()

    def _open(self, gate: _Gate, received: bytes | None) -> None:
        gate.received = received
        self.server.expect(1)
        gate.opened.set()

    async def _serve(self, gate: _Gate) -> None:
        with gate.client as client:
            client.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
            try:
                if gate.newcomer.subprotocol is None:
                    await self._let_in(gate, stream)
                else:
                    await self._go_on(gate, stream, gate.newcomer.subprotocol)
            except* Exception as errors:
                # A bug of ours must not end the other connections.
                peer = {"peer": gate.newcomer.peer}
                _log.error("a connection failed", exc_info=errors, extra=peer)
            finally:
                await trio.aclose_forcefully(stream)

    async def _let_in(self, gate: _Gate, stream: trio.SocketStream) -> None:
        """Serve a client that hasn't shaken hands yet."""
        gate.is_ready = True
        await gate.opened.wait()
        self.server.has_come()
        if gate.received is not None:
            await serve_client(
                self.hall,
                stream,
                self.settings,
                self.server,
                plain=gate.client,
                peer=gate.newcomer.peer,
                beginning=Beginning(said=bytearray(gate.received)),
            )

    async def _go_on(self, gate: _Gate, stream: trio.SocketStream, subprotocol: str) -> None:
        """Serve a client that has shaken hands, and may be in a gathering."""
        hall, server, settings, newcomer = self.hall, self.server, self.settings, gate.newcomer
        assert server.poller is not None
        meter = server.limits.enter(settings, newcomer.peer, trio.current_time())
        entry, asked = None, newcomer.request
        if asked is not None:
            request = HandshakeRequest(
                path=asked.path,
                headers=asked.headers,
                peer=asked.peer,
                subprotocols=asked.subprotocols,
            )
            entry = Entry(hall, asked.gathering, meter, request)
        async with trio.open_nursery() as nursery:
            gate.connection = connection = server.connect(
                stream,
                PolledSource(server.poller, gate.client),
                CODECS[subprotocol],
                entry,
                meter,
                settings,
                nursery,
                gate.client,
            )
            connection.wait_mute()
            self.connections[newcomer.number] = connection
            gate.is_ready = True
            await gate.opened.wait()
            server.has_come()
            received, gate.has_begun = gate.received, True
            # A connection that lives for days needn't keep them.
            del gate, newcomer, asked, entry, meter
            if received is None:
                connection.abort()
                connection.meter.leave(trio.current_time(), connection.close_code)
            else:
                await stay(server, connection, received)
            nursery.cancel_scope.cancel()
