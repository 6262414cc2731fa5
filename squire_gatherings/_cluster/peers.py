"""Peers: nodes of other machines, to which clients are relayed, and which relay clients to us."""

import logging
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from attrs import define, field

from squire_gatherings._cluster.links import PATIENCE, Link, RelayedStream
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._cluster.proof import NotProven, Proof
from squire_gatherings._cluster.relay import Asked, Relay, StreamBroken
from squire_gatherings._cluster.upkeep import Away, Upkeep
from squire_gatherings._hall.hall import Hall
from squire_gatherings._server.accepting import TASK_NAME, room_for
from squire_gatherings._server.attending import serve_expected
from squire_gatherings._server.elsewhere import Beginning
from squire_gatherings._server.serving import Serving
from squire_gatherings._values.nodes import Node

_log = logging.getLogger(__name__)

MOST_UNPROVEN = 100
"""How many connections may be open that have proven nothing yet; more are closed."""


async def prove(stream: trio.abc.Stream, proof: Proof, first: bytes = b"") -> bytes:
    """Prove to each other that both know the secret; return what came after that.

    Raises:
        NotProven: The other side doesn't, or has gone, or takes too long.

    Cancellation: the stream is in the middle of it.
    """
    with trio.move_on_after(PATIENCE):
        try:
            if first:
                await stream.send_all(first)
            while not proof.is_done:
                data = await stream.receive_some()
                if not data:
                    raise NotProven("it has gone")
                said = proof.take(bytes(data))
                if said:
                    await stream.send_all(said)
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError):
                raise NotProven(f"no TLS comes about: {cause.reason}") from None
            raise NotProven("it has gone") from None
        return proof.rest
    raise NotProven("it takes too long")


@define(eq=False)
class Peer:
    """The way to a node of another machine."""

    node: Node
    secret: bytes = field(repr=False)
    own: Callable[[], Node]
    """Returns the node that we are."""
    tls: PeerTls | None = None
    upkeep: Upkeep = field(factory=Upkeep)
    _link: Link | None = None
    _told: str = ""

    async def relay(self, peer: str | None, beginning: Beginning) -> RelayedStream:
        """Relay a client; return its stream once the node has taken it.

        Args:
            peer: Its address, or that of the proxy that it comes by.
            beginning: What is known of it.

        Raises:
            Away: It doesn't take the client, or isn't there.

        Cancellation: the client isn't relayed.
        """
        with trio.move_on_after(PATIENCE):
            await self.upkeep.wait_tried()
        if self._link is None:
            raise Away("it is away")
        asked = Asked(peer, bool(beginning.is_proxied), bool(beginning.is_local), beginning.passed)
        stream = await self._link.open(asked)
        try:
            await stream.send_all(beginning.said)
        except trio.BrokenResourceError:
            stream.abort()
            raise Away("it has gone") from None
        except BaseException:
            stream.abort()
            raise
        return stream

    def poke(self) -> None:
        """Have the node look for what was given to it, if it is there."""
        if self._link is not None:
            self._link.poke()

    async def run(self) -> None:
        """Be connected whenever the node is there, until cancelled.

        Cancellation: clients that are relayed are cut off.
        """
        await self.upkeep.run(self._connect)

    async def _connect(self) -> None:
        host, _, port = self.node.address.rpartition(":")
        stream: trio.abc.Stream
        with trio.move_on_after(PATIENCE) as scope:
            stream = await trio.open_tcp_stream(host.strip("[]"), int(port))
        if scope.cancelled_caught:
            return
        try:
            if self.tls is not None:
                context, name = self.tls.client(), host.strip("[]")
                stream = trio.SSLStream(stream, context, server_hostname=name)
            proof = Proof(self.secret, self.own().id, self.node.id)
            rest = await prove(stream, proof, proof.begin())
        except NotProven as why:
            # Each second anew: one line for each reason.
            if self._told != str(why):
                told = {"node": self.node.name, "why": str(why)}
                _log.warning("a node can't be reached", extra=told)
            self._told = str(why)
            await trio.aclose_forcefully(stream)
            return
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._told = ""
        self._link = link = Link(stream, Relay(is_client=True))
        self.upkeep.is_connected()
        try:
            await link.run(rest)
        finally:
            self._link = None


@define(eq=False)
class PeerIntake:
    """Takes clients in that other nodes relay, as the server accepts them."""

    hall: Hall
    server: Serving
    nursery: trio.Nursery
    """Has the clients' tasks."""
    secret: bytes = field(repr=False)
    own: Callable[[], Node]
    """Returns the node that we are."""
    tls: PeerTls | None = None
    on_poked: Callable[[], None] | None = None
    """Called when another node has given us something."""
    taken: int = 0
    """How many came so far."""
    _unproven: int = 0

    async def run(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serve the nodes that connect, until cancelled.

        Cancellation: clients that they relay are cut off.
        """
        await trio.serve_listeners(self._serve, list(listeners))

    async def _serve(self, plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        if self._unproven >= MOST_UNPROVEN:
            await trio.aclose_forcefully(plain)
            return
        self._unproven += 1
        try:
            if self.tls is not None:
                stream = trio.SSLStream(plain, self.tls.server(), server_side=True)
            proof = Proof(self.secret, self.own().id)
            rest = await prove(stream, proof)
        except NotProven as why:
            _log.warning("a connection was refused", extra={"why": str(why)})
            await trio.aclose_forcefully(plain)
            return
        except BaseException:
            await trio.aclose_forcefully(plain)
            raise
        finally:
            self._unproven -= 1
        link = Link(stream, Relay(is_client=False), self._opened, self.on_poked)
        await link.run(rest)

    def _opened(self, stream: RelayedStream, asked: Asked) -> None:
        self.nursery.start_soon(self._take, stream, asked, name=TASK_NAME)

    async def _take(self, stream: RelayedStream, asked: Asked) -> None:
        try:
            if await self._is_taken(stream):
                self.taken += 1
                self.server.expect(1)
                beginning = Beginning(
                    is_proxied=asked.is_proxied, is_local=asked.is_local, passed=asked.passed + 1
                )
                await serve_expected(self.hall, stream, self.server, asked.peer, beginning)
        finally:
            stream.close()

    async def _is_taken(self, stream: RelayedStream) -> bool:
        """Say whether the client is taken, once there's room at the door."""
        with suppress(StreamBroken), trio.move_on_after(PATIENCE):
            while not await room_for(self.server, 1):
                pass
            stream.take()
            return True
        with suppress(StreamBroken):
            stream.refuse("it takes no clients now")
        return False
