"""The serving: what a server has within, shared by all that works for it; its pauses."""

import logging
import math
import socket
from collections.abc import Sequence
from functools import partial

import trio
from attrs import define, field

from squire_gatherings._hall.rounds import Round
from squire_gatherings._hall.turnstile import Turnstile
from squire_gatherings._poller import Poller
from squire_gatherings._server.arrival import Doorway
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.elsewhere import Router
from squire_gatherings._server.entry import Entry
from squire_gatherings._server.limits import Limits, Meter
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.server import Server
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.sources import Source
from squire_gatherings._wire.codecs import Codec
from squire_gatherings._wire.underway import underway

_log = logging.getLogger(__name__)

LOG_PAUSE = 60.0
"""How many seconds pass until the same trouble is logged again."""

AT_THE_DOOR = 2
"""How many handshakes and joins begin in a turn: each takes half a millisecond."""


@define(eq=False)
class ServerStep:
    """What is done around a step of the poller: a round of the hall; its answers go out at once."""

    _round: Round
    _flusher: Flusher

    def begin(self) -> None:
        """See `Step`."""
        self._round.begin()
        self._flusher.holds = True

    def end(self) -> None:
        """See `Step`."""
        self._round.end()
        self._flusher.holds = False
        self._flusher.flush()


@define(eq=False)
class Serving(Server):
    """A running server, for those who work for it."""

    poller: Poller | None = None
    """Reads the plain sockets; None where each task must read its own."""
    flusher: Flusher | None = None
    turns: trio.Lock = field(factory=trio.Lock, init=False)
    entrance: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(AT_THE_DOOR), init=False
    )
    """Held by a client whose handshake or join is taken in, for one turn."""
    router: Router | None = field(default=None, init=False)
    """Brings clients to other processes; None where this one has all gatherings."""
    coming: int = field(default=0, init=False)
    """How many were accepted, or taken over, whose task hasn't begun yet."""
    keeps_alive: bool = field(default=False, init=False)
    """Whether a task of its own pings the clients."""
    doorways: dict[Doorway, socket.socket] = field(factory=dict, init=False)
    """Those who haven't shaken hands, where their sockets are all that there is to it."""
    _logged_at: float = field(default=-math.inf, init=False)
    _reading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Around the poller, which is stopped while the server is paused."""
    _resumed: trio.Event | None = field(default=None, init=False)
    """Set when a pause ends, while there is one."""

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The sockets on which it listens."""
        return self._listeners

    @property
    def accepting(self) -> trio.CancelScope:
        """Around all that accepts connections."""
        return self._accepting

    @property
    def limits(self) -> Limits:
        """The limits of the hall that it serves."""
        return self._limits

    def use(self, limits: Limits) -> Limits:
        """Serve a hall with these limits; return them."""
        self._limits = limits
        return limits

    # Who is connected.

    @property
    def all_connections(self) -> set[WebSocketConnection]:
        """The WebSockets that are open."""
        return self._connections

    def has_left(self, connection: WebSocketConnection) -> None:
        """Note that a WebSocket isn't open any more."""
        self._connections.discard(connection)
        self._left.unpark_all()

    def expect(self, count: int) -> None:
        """Note that so many are about to come; each `has_come` when its task begins."""
        self.coming += count

    def has_come(self) -> None:
        """Note that the task of somebody who was expected has begun."""
        self.coming -= 1

    # Pauses.

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

    @property
    def is_paused(self) -> bool:
        """Whether it accepts nobody and reads nothing."""
        return self._resumed is not None

    async def until_resumed(self) -> None:
        """Return once it isn't paused."""
        while self._resumed is not None:
            await self._resumed.wait()

    async def read(self, poller: Poller, turnstile: Turnstile) -> None:
        """Have the poller read, with pauses, until cancelled; first those who aren't leaving."""
        until_quiet = partial(turnstile.wait_to_go, poller)
        while True:
            await self.until_resumed()
            async with trio.open_nursery() as nursery:
                self._reading = nursery.cancel_scope
                nursery.start_soon(poller.run)
                nursery.start_soon(poller.serve_held, until_quiet)

    def connect(
        self,
        stream: trio.abc.Stream,
        source: Source,
        codec: Codec,
        entry: Entry | None,
        meter: Meter,
        settings: ServerSettings,
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
            self.turns,
            self.entrance,
            nursery,
            plain,
            self.flusher,
            underway(stream, plain),
        )

    def log_trouble(self, error: OSError) -> None:
        """Say that no connection can be accepted, unless that was said a moment ago."""
        now = trio.current_time()
        if now - self._logged_at < LOG_PAUSE:
            return
        self._logged_at = now
        count = self._limits.quotas.budget.connections
        told = {"connections": count, "why": error.strerror or str(error)}
        _log.warning("no connection can be accepted for now", extra=told)
