"""The router: a client of a gathering that another node has is brought there.

On the same machine its socket is passed on. Where that is more than a socket, as under TLS, this
process stays in between, and passes on one end of a pair of sockets. To another machine it relays
what both say, or sends the client there, where the client says that it follows.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio
from attrs import define, field

from squire_gatherings._cluster.directory import Directory
from squire_gatherings._cluster.passing import Passage
from squire_gatherings._cluster.peer_tls import PeerTls
from squire_gatherings._cluster.pumping import Pump
from squire_gatherings._cluster.upkeep import Away, NotThere
from squire_gatherings._hall.tally import Tally
from squire_gatherings._server.arrival import end_tls
from squire_gatherings._server.elsewhere import Guest, Way
from squire_gatherings._server.handshake import RETRY_AFTER, Refused
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.handshake import FOLLOWS
from squire_gatherings._values.nodes import Node

if TYPE_CHECKING:
    from squire_gatherings._cluster.peers import Peer

MOST_PASSED = 2
"""How many nodes may send a client on to another one: each believed the other had the gathering."""


LAST_NOTICES = 1.0
"""How many seconds the others have to end their clients, where all end together."""

[(FOLLOWS_NAME, _)] = FOLLOWS.items()


def _location(node: Node, guest: Guest) -> tuple[str, str]:
    """Return the header that sends a client to where it reaches a node by itself."""
    target = urlsplit(guest.request.path)
    query = f"?{target.query}" if target.query else ""
    return "Location", f"{node.url.rstrip('/')}{target.path}{query}"


async def _nothing_is_left() -> None:
    await trio.lowlevel.checkpoint()


@define(eq=False)
class NodeRouter:
    """Brings clients to the other nodes."""

    own: Callable[[], Node]
    """Returns the node that we are: another one, once we were declared dead."""
    directory: Directory
    nursery: trio.Nursery
    """Has what keeps up the ways to other nodes."""
    max_between: int | None = None
    """How many clients it may stay in between for; None for no limit."""
    secret: bytes = field(default=b"", repr=False)
    """What nodes of several machines know each other by; empty where there are none."""
    tls: PeerTls | None = None
    """Secures connections to other machines' nodes."""
    tally: Tally = field(factory=Tally)
    """Counts where clients were brought."""
    _passages: dict[str, Passage] = field(factory=dict, init=False)
    _peers: "dict[str, Peer]" = field(factory=dict, init=False)
    _scopes: dict[str, trio.CancelScope] = field(factory=dict, init=False)
    _known: dict[str, Node] = field(factory=dict, init=False)
    _pumps: set[Pump] = field(factory=set, init=False)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def know(self, *nodes: Node) -> None:
        """Keep up a way to each of these nodes from now on; nodes that it knew already stay."""
        for node in nodes:
            if node.id in self._scopes or node.id == self.own().id:
                continue
            if self._is_near(node):
                passage = self._passages[node.id] = Passage(node.socket)
                self._keep_up(node, passage.run)
            elif node.address and self.secret:
                # It needs h2, which only those have installed who share a database.
                from squire_gatherings._cluster.peers import Peer

                peer = Peer(node, self.secret, self.own, self.tls)
                self._peers[node.id] = peer
                self._keep_up(node, peer.run)

    def forget(self, *nodes: Node) -> None:
        """Give up the ways to nodes that are no more."""
        for node in nodes:
            self._passages.pop(node.id, None)
            self._peers.pop(node.id, None)
            self._known.pop(node.id, None)
            scope = self._scopes.pop(node.id, None)
            if scope is not None:
                scope.cancel()

    def update(self, nodes: Iterable[Node]) -> None:
        """Know these nodes, as they are now, and no others."""
        living = {node.id: node for node in nodes}
        for name, known in tuple(self._known.items()):
            node = living.get(name)
            if node is None or (node.socket, node.address) != (known.socket, known.address):
                self.forget(known)
        self.know(*living.values())

    def poke(self, node: Node) -> None:
        """Have a node look for what was given to it: it'd do so with its next beat anyway."""
        way = self._passages.get(node.id) or self._peers.get(node.id)
        if way is not None:
            way.poke()

    async def wait_known(self, within: float) -> None:
        """Return once all nodes are there that it knows, or after so many seconds.

        Cancellation: nothing else changes.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(within):
            for passage in tuple(self._passages.values()):
                await passage.upkeep.wait_up()
            for peer in tuple(self._peers.values()):
                await peer.upkeep.wait_up()

    async def bring(self, guest: Guest) -> Way | None:
        """See `Router`. A checkpoint only where the client goes elsewhere."""
        try:
            try:
                return await self._bring(guest)
            except NotThere:
                # It may have given the gathering away, or be dead, since that was looked up.
                self.directory.forget(guest.gathering)
                return await self._bring(guest)
        except Away as why:
            self.directory.forget(guest.gathering)
            text = f"the process that has this gathering can't be reached: {why}"
            raise self._refused(text) from None

    async def _bring(self, guest: Guest) -> Way | None:
        """As `bring`. Raises `Away`."""
        passed = guest.beginning.passed
        try:
            node = await self.directory.find(guest.gathering, passed=passed)
        except StoreUnavailable:
            raise self._refused("nobody can say now where this gathering is") from None
        if node is None:
            self.tally.routed["here"] += 1
            return None
        if passed >= MOST_PASSED:
            raise self._refused("this gathering is on its way to another process")
        return await self._bring_to(guest, node)

    def _is_near(self, node: Node) -> bool:
        return bool(node.socket) and node.machine == self.own().machine

    def _keep_up(self, node: Node, run: Callable[[], Awaitable[None]]) -> None:
        scope = self._scopes[node.id] = trio.CancelScope()
        self._known[node.id] = node

        async def keep_up() -> None:
            with scope:
                await run()

        self.nursery.start_soon(keep_up, name=f"the way to {node.name}")

    async def _bring_to(self, guest: Guest, node: Node) -> Way:
        self.know(node)
        passage, peer = self._passages.get(node.id), self._peers.get(node.id)
        if passage is not None and guest.plain is not None:
            await passage.pass_on(guest.plain, guest.peer, guest.beginning)
            self.tally.routed["passed_on"] += 1
            return _nothing_is_left
        if passage is None and node.url and guest.request.header(FOLLOWS_NAME) is not None:
            self.tally.routed["redirected"] += 1
            raise Refused(307, "another node has this gathering", [_location(node, guest)])
        if self.max_between is not None and self.tally.between >= self.max_between:
            raise Away("too many clients are connected by way of this one")
        self.tally.between += 1
        try:
            server = await self._connect(guest, passage, peer)
        except BaseException:
            self._has_left()
            raise
        self.tally.routed["relayed"] += 1
        return partial(self._stay_between, guest.stream, server)

    async def _connect(
        self, guest: Guest, passage: Passage | None, peer: "Peer | None"
    ) -> trio.abc.HalfCloseableStream:
        """Return a stream on which the other node serves the client."""
        if passage is not None:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    await passage.pass_on(theirs, guest.peer, guest.beginning)
                ours.setblocking(False)
                return trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            except BaseException:
                ours.close()
                raise
        if peer is not None:
            return await peer.relay(guest.peer, guest.beginning)
        raise Away("nobody has told where it is")

    async def _stay_between(
        self, client: trio.abc.Stream, server: trio.abc.HalfCloseableStream
    ) -> None:
        pump = Pump(client, server)
        self._pumps.add(pump)
        try:
            await pump.run()
            await end_tls(client)
        finally:
            self._pumps.discard(pump)
            self._has_left()
            await trio.aclose_forcefully(server)

    def _has_left(self) -> None:
        self.tally.between -= 1
        self._left.unpark_all()

    async def close(self) -> None:
        """Have those go for whom it stays in between; return once they have.

        Where the others end, too, their last notices still pass.

        Cancellation: some may still be there.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(LAST_NOTICES):
            await self.wait_empty()
        for pump in tuple(self._pumps):
            pump.end()
        await self.wait_empty()

    async def wait_empty(self) -> None:
        """Return once it stays in between for nobody.

        Cancellation: nothing else changes.
        """
        await trio.lowlevel.checkpoint()
        while self.tally.between:
            await self._left.park()

    def _refused(self, why: str) -> Refused:
        self.tally.routed["turned_away"] += 1
        return Refused(503, why, [RETRY_AFTER])


def worker_node(folder: str, number: int) -> Node:
    """Return the node that a worker of one machine is.

    Args:
        folder: The folder with the workers' private sockets.
        number: Its number.
    """
    name = f"worker-{number}"
    return Node(id=name, name=name, machine="", socket=f"{folder}/{name}")
