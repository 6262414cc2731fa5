"""The router: a client of a gathering that another node has is brought there.

On the same machine its socket is passed on. Where that is more than a socket, as under TLS, this
process stays in between, and passes on one end of a pair of sockets.
"""

import socket
from contextlib import closing
from functools import partial

import trio
from attrs import define, field

from squire_gatherings._cluster.directory import Directory
from squire_gatherings._cluster.passing import Away, Passage
from squire_gatherings._cluster.pumping import pump
from squire_gatherings._server.arrival import end_tls
from squire_gatherings._server.elsewhere import Guest, Way
from squire_gatherings._server.handshake import RETRY_AFTER, Refused
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.nodes import Node

MOST_PASSED = 2
"""How many nodes may send a client on to another one: each believed the other had the gathering."""


async def _nothing_is_left() -> None:
    await trio.lowlevel.checkpoint()


@define(eq=False)
class NodeRouter:
    """Brings clients to the other nodes of the machine."""

    own: Node
    directory: Directory
    nursery: trio.Nursery
    """Has what keeps up the ways to other nodes."""
    max_between: int | None = None
    """How many clients it may stay in between for; None for no limit."""
    passed_on: int = field(default=0, init=False)
    """How many sockets were passed on so far."""
    turned_away: int = field(default=0, init=False)
    """How many clients were told to come again: where they were to go nobody took them."""
    between: int = field(default=0, init=False)
    """For how many clients it stays in between now."""
    _passages: dict[str, Passage] = field(factory=dict, init=False)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def know(self, node: Node) -> None:
        """Keep up a way to another node of this machine from now on."""
        if node.socket not in self._passages:
            passage = self._passages[node.socket] = Passage(node.socket)
            self.nursery.start_soon(passage.run)

    async def wait_known(self, within: float) -> None:
        """Return once all nodes are there that it knows, or after so many seconds.

        Cancellation: nothing else changes.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(within):
            for passage in tuple(self._passages.values()):
                await passage.wait_open()

    async def bring(self, guest: Guest) -> Way | None:
        """See `Router`. A checkpoint only where the client goes elsewhere."""
        passed = guest.beginning.passed
        try:
            node = await self.directory.find(guest.gathering, passed=passed)
        except StoreUnavailable:
            raise self._refused("nobody can say now where this gathering is") from None
        if node is None:
            return None
        if passed >= MOST_PASSED:
            raise self._refused("this gathering is on its way to another process")
        try:
            return await self._pass_on(guest, node)
        except Away as why:
            text = f"the process that has this gathering can't be reached: {why}"
            raise self._refused(text) from None

    async def _pass_on(self, guest: Guest, node: Node) -> Way:
        self.know(node)
        passage = self._passages[node.socket]
        if guest.plain is not None:
            await passage.pass_on(guest.plain, guest.peer, guest.beginning)
            self.passed_on += 1
            return _nothing_is_left
        if self.max_between is not None and self.between >= self.max_between:
            raise Away("too many clients are connected by way of this one")
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                await passage.pass_on(theirs, guest.peer, guest.beginning)
        except BaseException:
            ours.close()
            raise
        self.between += 1
        return partial(self._stay_between, guest.stream, ours)

    async def _stay_between(self, client: trio.abc.Stream, ours: socket.socket) -> None:
        try:
            with closing(ours):
                ours.setblocking(False)
                await pump(client, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
                await end_tls(client)
        finally:
            self.between -= 1
            self._left.unpark_all()

    async def wait_empty(self) -> None:
        """Return once it stays in between for nobody.

        Cancellation: nothing else changes.
        """
        await trio.lowlevel.checkpoint()
        while self.between:
            await self._left.park()

    def _refused(self, why: str) -> Refused:
        self.turned_away += 1
        return Refused(503, why, [RETRY_AFTER])


def worker_node(folder: str, number: int) -> Node:
    """Return the node that a worker of one machine is.

    Args:
        folder: The folder with the workers' private sockets.
        number: Its number.
    """
    name = f"worker-{number}"
    return Node(id=name, name=name, machine="", socket=f"{folder}/{name}")
