"""The local node: what a hall does as one of several that share a store.

It goes on with what dead nodes had, and with what living ones give it.
"""

import logging

import trio
from attrs import define, evolve, field

from squire_gatherings._cluster.beats import Beats
from squire_gatherings._hall.hall import Hall, peers_of
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.nodes import Node

_log = logging.getLogger(__name__)


@define(eq=False)
class LocalNode:
    """This process, as one of the nodes that form a hall."""

    beats: Beats
    registry: Registry
    ownership: Ownership
    inherited: int = 0
    """How many dead nodes' estates were taken over."""
    arrived: int = 0
    """How many gatherings came from other nodes, dead ones among them."""
    _arrivals: int = 0
    """How often we were given something, as far as all of it was taken up."""
    _due: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.beats.on_beat = self._beaten
        self.beats.on_lost = self._lost

    @property
    def node(self) -> Node:
        """What the others are told of us."""
        return self.beats.node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that aren't declared dead, as of the last beat."""
        return self.beats.nodes

    def describe(
        self, *, machine: str | None = None, socket: str = "", address: str = "", url: str = ""
    ) -> None:
        """Tell the others where we are reached. They know it with the next beat."""
        node = self.beats.node
        self.beats.node = evolve(
            node,
            machine=node.machine if machine is None else machine,
            socket=socket,
            address=address,
            url=url,
        )

    async def run(self) -> None:
        """Go on with what is left to us, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ownership.run)
            while True:
                await self._due.wait()
                self._due = trio.Event()
                try:
                    await self._look()
                except StoreUnavailable as error:
                    _log.debug("the node looks again later", extra={"why": str(error)})

    # What happens.

    def _beaten(self, is_regained: bool) -> None:
        registry, beats = self.registry, self.beats
        beats.node = evolve(
            beats.node,
            gatherings=len(registry.living),
            connections=registry.quotas.users.total,
        )
        if is_regained:
            registry.look_again()
        self._due.set()

    def _lost(self) -> None:
        self._arrivals = 0
        self.registry.move_all()

    async def _look(self) -> None:
        lease, beats = self.ownership.lease, self.beats
        for node in beats.nodes:
            if node.id != beats.node.id and node.beat_age > lease.duration:
                with store_trouble():
                    inherited = await beats.store.inherit(node)
                if inherited:
                    self.inherited += 1
                    extra = {"dead": node.name, "dead_id": node.id} | beats.names()
                    _log.warning("a node is dead, and this one takes over what it had", extra=extra)
                    await self._take_up()
        await self.ownership.settle()
        arrivals = next((one.arrivals for one in beats.nodes if one.id == beats.node.id), 0)
        if arrivals != self._arrivals:
            await self._take_up()
            self._arrivals = arrivals

    async def _take_up(self) -> None:
        """Go on with all that is left to us."""
        registry, ownership = self.registry, self.ownership
        while not registry.closed:
            await ownership.settle()
            lease = ownership.lease
            estates = await ownership.arrived()
            if not estates or lease is not ownership.lease:
                return
            before = len(registry.living)
            registry.inherit(estates)
            self.arrived += len(estates)
            if len(registry.living) == before:
                # What is left is just being opened.
                return


def local_node_of(hall: Hall) -> LocalNode | None:
    """Return what a hall does as one of several nodes, if it is one. Not for programs."""
    node = peers_of(hall)
    assert node is None or isinstance(node, LocalNode)
    return node
