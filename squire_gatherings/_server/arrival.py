"""Arrival: from a stream to a client that has shaken hands, by way of a proxy and TLS.

Until it says `join`, a client stands at the door (`_rules.door`), and takes no other's place.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio
from attrs import define, evolve, field, frozen

from squire_gatherings._hall.lateness import HELD_UP, time_limit
from squire_gatherings._poller import Poller
from squire_gatherings._rules.door import Visitor, never
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._server.elsewhere import Beginning, Guest, Router, Way
from squire_gatherings._server.handshake import RETRY_AFTER, Accepted, Refused, shake_hands
from squire_gatherings._server.limits import Limits
from squire_gatherings._server.proxies import ProxySays
from squire_gatherings._server.proxy_protocol import BadProxyHeader, ProxyHeader
from squire_gatherings._server.reports import report_refusal
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.sources import PolledSource, Source, StreamSource
from squire_gatherings._server.tls import TlsContext
from squire_gatherings._values.errors import Full
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.origins import OriginRule, is_loopback
from squire_gatherings._wire.underway import socket_of

CLOSE_NOTIFY = 0.2
"""How many seconds we wait for the end of a TLS connection to go out."""


@define(eq=False)
class Doorway:
    """What the door is told of one client, and from where it comes."""

    limits: Limits
    settings: ServerSettings
    visitor: Visitor
    peer: str | None
    """Its address; that of a proxy, until the proxy has said whose connection it is."""
    is_proxied: bool
    has_spoken: bool = False
    """Whether the whole request is there."""
    said: bytearray = field(factory=bytearray)
    """What has come of the request."""
    is_local: bool = False
    """Whether it came to an address that only this machine reaches."""
    passed: int = 0
    """How many other processes sent it on to this one."""
    router: Router | None = None
    """Who brings it to another process, if there are others."""
    way: Way | None = None
    """What is left to do for it, once another process serves it."""

    @property
    def awaits_header(self) -> bool:
        """Whether the PROXY protocol comes first."""
        return self.is_proxied and self.settings.proxies.says is ProxySays.PROXY_PROTOCOL

    def heard(self) -> None:
        """The request is there: the client that sent it isn't silent."""
        self.has_spoken = True
        self.limits.door.heard(self.visitor)

    def came_from(self, peer: str) -> bool:
        """Note whose connection it is; False where that one has too many at the door."""
        self.peer, self.is_proxied = peer, False
        return self.limits.found(self.visitor, self.settings, peer)

    def refused(self, refusal: Refused) -> None:
        """Note that the request gets no WebSocket."""
        report_refusal(self.limits.quotas, self.peer, refusal.status, refusal.logged)

    async def admit(
        self, stream: trio.abc.Stream, plain: socket.socket | None, accepted: Accepted
    ) -> Accepted | None:
        """Return what authentication sees of a request; None if another process serves it.

        Raises:
            Refused: It's full here, or there.
        """
        # Whoever serves it learns whose it is in the same way.
        peer, is_proxied = self.peer, self.is_proxied
        request = self._identify(accepted.request)
        if self.router is not None:
            beginning = Beginning(
                said=self.said,
                is_proxied=is_proxied,
                is_local=self.is_local,
                passed=self.passed,
            )
            guest = Guest(
                gathering=accepted.gathering_id,
                request=request,
                stream=stream,
                plain=plain,
                peer=peer,
                beginning=beginning,
            )
            self.way = await self.router.bring(guest)
            if self.way is not None:
                return None
        try:
            self.limits.check(self.settings, self.peer)
        except Full as full:
            raise Refused(503, str(full), [RETRY_AFTER]) from None
        return evolve(accepted, request=request)

    def _identify(self, request: HandshakeRequest) -> HandshakeRequest:
        """Learn from a request whose it is, where a proxy says so there."""
        if not self.is_proxied or self.peer is None:
            return request
        peer = self.settings.proxies.client_of(request, self.peer)
        if not self.came_from(peer):
            why = "too many handshakes from your address are under way"
            raise Refused(503, why, [RETRY_AFTER])
        self.heard()
        return evolve(request, peer=peer)


@frozen
class Arrived:
    """A client that has shaken hands."""

    stream: trio.abc.Stream
    """The stream that it came on, or TLS over that."""
    source: Source
    accepted: Accepted


async def let_in(
    stream: trio.abc.Stream,
    plain: socket.socket | None,
    poller: Poller | None,
    entrance: trio.CapacityLimiter,
    nursery: trio.Nursery,
    doorway: Doorway,
    ssl_context: TlsContext | None,
) -> Arrived | None:
    """Learn from a proxy whose connection it is, secure it, and shake hands.

    Args:
        stream: The connection.
        plain: The non-blocking socket that the stream is, if it's one.
        poller: Reads plain sockets, if there's one.
        entrance: What all clients of a server share, see `shake_hands`.
        nursery: Where tasks watch the time.
        doorway: What the door is told.
        ssl_context: What the stream is to be secured with, if it is.

    Returns:
        None where the client was refused, or is gone, or came too late, or another process serves
        it, as `doorway.way` says.
    """
    timeout = doorway.settings.handshake_timeout
    if doorway.awaits_header and not await _read_header(stream, nursery, timeout, doorway):
        return None
    source: Source
    if ssl_context is not None:
        context = ssl_context() if callable(ssl_context) else ssl_context
        # Its own handshake is made by the first read, under the same time limit.
        stream = trio.SSLStream(stream, context, server_side=True)
        source = StreamSource(stream)
    elif plain is None or poller is None:
        source = StreamSource(stream)
    else:
        source = PolledSource(poller, plain)
    accepted = None
    with suppress(trio.BrokenResourceError):
        accepted = await shake_hands(
            stream,
            source,
            entrance,
            nursery,
            timeout,
            said=doorway.said,
            peer=doorway.peer,
            origins=OriginRule(doorway.settings.allow_origins, doorway.is_local),
            heard=doorway.heard,
            admit=partial(doorway.admit, stream, plain if ssl_context is None else None),
            refused=doorway.refused,
        )
    if accepted is None:
        if ssl_context is not None and doorway.has_spoken and doorway.way is None:
            await end_tls(stream)
        return None
    doorway.limits.door.answered(doorway.visitor)
    return Arrived(stream, source, accepted)


async def end_tls(stream: trio.abc.Stream) -> None:
    """Say that nothing more comes, so that nobody else can have cut it off."""
    with trio.move_on_after(CLOSE_NOTIFY, shield=True), suppress(trio.BrokenResourceError):
        await stream.aclose()


async def _read_header(
    stream: trio.abc.Stream, nursery: trio.Nursery, timeout: float, doorway: Doorway
) -> bool:
    header = ProxyHeader()
    try:
        with time_limit(nursery, timeout, HELD_UP):
            while header.wanted:
                data = await stream.receive_some(header.wanted)
                if not data:
                    return False
                header.feed(bytes(data))
    except BadProxyHeader as error:
        why = f"a named proxy sent no header of the PROXY protocol: {error}"
        doorway.limits.quotas.enforced(Limit.PROXY, why, peer=doorway.peer)
        return False
    except trio.BrokenResourceError:
        return False
    if header.wanted:
        return False
    if header.source is None:
        # The proxy's own connection, such as a look whether we're there.
        doorway.is_proxied = False
        return True
    if not doorway.came_from(header.source):
        return False
    doorway.limits.door.answered(doorway.visitor)
    return True


def has_unread(plain: socket.socket | None) -> Callable[[], bool]:
    """Return what tells whether something waits in a socket that we haven't read."""
    return never if plain is None else partial(_has_unread, plain)


def _has_unread(plain: socket.socket) -> bool:
    try:
        return bool(plain.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


def is_local(stream: trio.abc.Stream) -> bool:
    """Whether the client came to an address that only this machine reaches."""
    own = _address_of(stream, own=True)
    return own is not None and is_loopback(own)


def peer_of(stream: trio.abc.Stream) -> str | None:
    """Return the address at the stream's other end; None where there's none."""
    return _address_of(stream, own=False)


def _address_of(stream: trio.abc.Stream, *, own: bool) -> str | None:
    found = socket_of(stream)
    if found is None:
        return None
    try:
        name = found.getsockname() if own else found.getpeername()
    except OSError:
        return None
    return name[0] if isinstance(name, tuple) else None
