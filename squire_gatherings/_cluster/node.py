"""The local node: what a hall does as one of several that share a store.

It goes on with what dead nodes had, and with what living ones give it.
"""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from itertools import islice

import trio
from attrs import define, evolve, field

from squire_gatherings._cluster.beats import Beats
from squire_gatherings._hall.giving import Giving
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.losing import go_on, lose_all
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.parts import peers_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._hall.taking_up import inherit
from squire_gatherings._rules.histogram import Histogram
from squire_gatherings._rules.placement import place, to_give
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.nodes import Node, NodeState

_log = logging.getLogger(__name__)

AT_ONCE = 16
"""So many gatherings are handed over at once: the others go on meanwhile."""

ASLEEP_WITHIN = 2.0
"""How many seconds they have to fall asleep."""

MOST_FRUITLESS = 3
"""A drain gives up after so many rounds in which nothing could be given."""

GIVEN_AT_ONCE = 5
"""So many sleepers are given with each beat, for balance."""

QUIET = 2.5
"""Nothing is given to a node that has had no beat for so many intervals."""

SHORTEST = 0.01
"""For so many seconds at least it waits until a node may be dead."""

LOOKED_AT = 1000
"""So many are looked at for that."""


def _nothing(_: Node) -> None:
    """Do nothing: nobody is told."""


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
    moved: int = 0
    """How many gatherings were given to other nodes."""
    on_given: Callable[[Node], None] = _nothing
    """Called when another node was given something: it may be told, and be quicker so."""
    pauses: Histogram = field(factory=Histogram)
    """How many seconds gatherings were nobody's while they were given."""
    _is_poked: bool = False
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
        return tuple(one for one in self.beats.nodes if one.beat_age < math.inf)

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

    def own(self) -> Node:
        """Return what the others are told of us: another node, once we were declared dead."""
        return self.beats.node

    def leave(self) -> None:
        """Tell the others that we aren't reached any more. They know it with the next beat."""
        self.describe()
        self.on_given = _nothing

    async def run(self) -> None:
        """Go on with what is left to us, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.ownership.run)
            while True:
                with trio.move_on_after(self._until_silent()):
                    await self._due.wait()
                self._due = trio.Event()
                try:
                    await self._look()
                except StoreUnavailable as error:
                    _log.debug("the node looks again later", extra={"why": str(error)})

    def _until_silent(self) -> float:
        """Return in how many seconds the next node has been silent for a lease, as things stand."""
        ownership, now = self.ownership, trio.current_time()
        left = (
            ownership.lease.duration - ownership.silences.seconds(one.id, one.beats, now)
            for one in self.beats.nodes
            if one.id != self.node.id and not ownership.is_silent(one)
        )
        # A difference that is too small to be slept through would be waited for without an end.
        return max(min(left, default=math.inf), SHORTEST)

    def poke(self) -> None:
        """Look now whether something was given to us: its giver says so."""
        self._is_poked = True
        self._due.set()

    # Handing over.

    async def move(self, gatherings: Collection[str], to: Node) -> int:
        """Give gatherings to another node; return how many it has now.

        Their connections are closed with 4010. What can't sleep within two seconds stays.

        Cancellation: each is given, or stays.
        """
        began = trio.current_time()
        await trio.lowlevel.checkpoint_if_cancelled()
        count = await Giving(self.registry, self.ownership, to).give(gatherings, ASLEEP_WITHIN)
        if count:
            self.moved += count
            self.pauses.add(trio.current_time() - began)
            self.on_given(to)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return count

    async def drain(self) -> int:
        """Open nothing more, and give all that there is to other nodes, some at a time.

        Returns:
            How many gatherings couldn't be given, since there is no other node, or they can't
            sleep.

        Cancellation: no more are given. Nothing is opened all the same.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        beats, registry = self.beats, self.registry
        beats.node = evolve(beats.node, state=NodeState.DRAINING)
        self.ownership.place = self.place
        await beats.say_so()
        fruitless = 0
        while registry.living and fruitless < MOST_FRUITLESS and self.ownership.is_certain:
            before, rest = self.moved, tuple(registry.living)
            for first in range(0, len(rest), AT_ONCE):
                if not await self._hand_over(rest[first : first + AT_ONCE]):
                    return len(registry.living)
            if self.moved == before:
                fruitless += 1
                await trio.sleep(beats.interval)
        return len(registry.living)

    async def _hand_over(self, gatherings: Sequence[str]) -> bool:
        """Give gatherings to the nodes that are to have them; False if there is none."""
        groups: dict[Node, list[str]] = {}
        for one in gatherings:
            to = self.place(one)
            if to is None:
                return False
            groups.setdefault(to, []).append(one)
        async with trio.open_nursery() as nursery:
            for to, some in groups.items():
                nursery.start_soon(self.move, some, to)
        return True

    def place(self, gathering: str) -> Node | None:
        """Return which other node is to have a gathering, where this one drains."""
        return place(gathering, self._others())

    def _others(self) -> list[Node]:
        """Return the other nodes that were heard of lately: the rest may be dead by now."""
        now, silences = trio.current_time(), self.ownership.silences
        lately = QUIET * self.beats.interval
        return [
            one
            for one in self.nodes
            if one.id != self.node.id and silences.seconds(one.id, one.beats, now) <= lately
        ]

    def place_new(self, gathering: str, *, is_asked_first: bool) -> Node | None:
        """Return which other node is to open a gathering that none has; None if this one is.

        One that drains opens nothing. One that has more than its share opens only what it is chosen
        for, unless another node has chosen it.
        """
        node = self.node
        if node.state is not NodeState.UP:
            return self.place(gathering)
        if not is_asked_first or to_give(node, self.nodes) is None:
            return None
        chosen = place(gathering, self.nodes)
        return None if chosen is None or chosen.id == node.id else chosen

    async def _balance(self) -> None:
        """Give some sleepers to which nobody is connected, if we have more than our share."""
        to = to_give(self.node, [self.node, *self._others()])
        if to is None or self.node.state is not NodeState.UP:
            return
        idle = (
            name
            for name, one in islice(self.registry.living.items(), LOOKED_AT)
            if isinstance(one, Sleeper) and not one.clients
        )
        some = tuple(islice(idle, GIVEN_AT_ONCE))
        if some:
            await self.move(some, to)

    # What happens.

    def _beaten(self, is_regained: bool) -> None:
        registry, beats = self.registry, self.beats
        beats.node = evolve(
            beats.node,
            gatherings=len(registry.living),
            connections=registry.quotas.users.total,
        )
        now, silences = trio.current_time(), self.ownership.silences
        for node in beats.nodes:
            silences.saw(node.id, node.beats, now)
        silences.keep(node.id for node in beats.nodes)
        if is_regained:
            go_on(registry)
        self._due.set()

    def _lost(self) -> None:
        self._arrivals = 0
        lose_all(self.registry)

    async def _look(self) -> None:
        beats = self.beats
        takes = beats.node.state is NodeState.UP or self.place("") is None
        for node in beats.nodes:
            if takes and node.id != beats.node.id and self.ownership.is_silent(node):
                with store_trouble():
                    inherited = await beats.store.inherit(node)
                if inherited:
                    self.inherited += 1
                    self._log_inherited(node)
                    await self._take_up()
        await self.ownership.settle()
        arrivals = next((one.arrivals for one in beats.nodes if one.id == beats.node.id), 0)
        if arrivals != self._arrivals or self._is_poked or self.ownership.is_in_doubt:
            self._is_poked = self.ownership.is_in_doubt = False
            await self._take_up()
            self._arrivals = arrivals
        await self._balance()

    def _log_inherited(self, node: Node) -> None:
        names = self.beats.names()
        if node.beat_age == math.inf:
            extra = {"left": node.name, "left_id": node.id} | names
            _log.info("a node has left, and this one takes over what it had", extra=extra)
        else:
            extra = {"dead": node.name, "dead_id": node.id} | names
            _log.warning("a node is dead, and this one takes over what it had", extra=extra)

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
            inherit(registry, estates)
            self.arrived += len(estates)
            if len(registry.living) == before:
                # What is left is just being opened.
                return


def local_node_of(hall: Hall) -> LocalNode | None:
    """Return what a hall does as one of several nodes, if it is one. Not for programs."""
    node = peers_of(hall)
    assert node is None or isinstance(node, LocalNode)
    return node
