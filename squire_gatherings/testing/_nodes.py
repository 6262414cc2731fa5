"""Shared memory: what the stores of several nodes share, in one process and on one clock.

Each node's hall has a store of its own (`SharedMemory.store`), as each process has a connection of
its own to a database. Behind a `FailingStore`, it is a node that is cut off, paused or killed.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from itertools import islice

import trio
from attrs import define, evolve, field

from squire_gatherings._hall.store import Outcome, Store
from squire_gatherings._rules.lease import Lease
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._stores.memory_log import Log
from squire_gatherings._values.archive import Tombstone
from squire_gatherings._values.claims import Claim, Estate
from squire_gatherings._values.errors import DeclaredDead, TakenAway
from squire_gatherings._values.events import (
    EventKind,
    EventsLeft,
    LifecycleEvent,
    OpenIncarnation,
)
from squire_gatherings._values.log import Append, Restored
from squire_gatherings._values.nodes import Node, NodeState
from squire_gatherings._values.sleep import Slept
from squire_gatherings.testing._wall_clock import WallClock

NOBODY = Node(id="", name="")


@define(eq=False)
class _Row:
    """A node, as all know it."""

    node: Node
    beat_at: float
    beats: int = 0
    arrivals: int = 0


@define(eq=False)
class _Owned:
    """Who has a gathering. The row stays when nobody does: epochs only grow."""

    owner: str = ""
    epoch: int = 0
    is_left: bool = False
    """Whether another node has left something of it that isn't taken up."""


@define(eq=False)
class _Shared:
    """All that is shared."""

    lease: float
    margin: float
    clock: Callable[[], float]
    secret: bytes = field(factory=lambda: secrets.token_bytes(32), init=False, repr=False)
    nodes: dict[str, _Row] = field(factory=dict, init=False)
    """Those that aren't declared dead, by id."""
    owned: dict[str, _Owned] = field(factory=dict, init=False)
    stores: "list[NodeStore]" = field(factory=list, init=False)
    """All that were made."""
    logs: dict[str, Log] = field(factory=dict, init=False)
    tombstones: dict[str, Tombstone] = field(factory=dict, init=False)
    asleep: dict[str, Slept] = field(factory=dict, init=False)
    """By incarnation."""
    events: dict[int, LifecycleEvent] = field(factory=dict, init=False)
    """What isn't delivered, by its number."""
    event_ids: set[str] = field(factory=set, init=False)
    """Of all that there ever were."""
    open: dict[str, LifecycleEvent] = field(factory=dict, init=False)
    """The `opened` of each incarnation that hasn't dispersed."""
    last_event: int = field(default=0, init=False)

    def new_lease(self) -> Lease:
        """Return the lease of a node that has no beat yet."""
        return Lease(self.lease, self.margin)

    def owner_of(self, gathering: str) -> str:
        """Return the id of the node that has a gathering; "" for nobody."""
        found = self.owned.get(gathering)
        return "" if found is None else found.owner

    def slept(self, gathering: str) -> Slept | None:
        """Return what is known of the incarnation of a gathering that sleeps."""
        found = [one for one in self.asleep.values() if one.gathering == gathering]
        return max(found, key=lambda one: one.state.opened_at, default=None)

    def as_told(self, row: _Row) -> Node:
        """Return a node as another one is told of it."""
        age = self.clock() - row.beat_at
        return evolve(row.node, beats=row.beats, beat_age=age, arrivals=row.arrivals)


@define(eq=False)
class SharedMemory:
    """What the stores of several halls share: these are the nodes of one hall, on one clock.

    ```python
    shared = SharedMemory()
    async with open_hall(store=shared.store()) as one, open_hall(store=shared.store()) as two:
        await one.submit("friday-night", [{"n": 1}])
        with pytest.raises(OwnedElsewhere):
            await two.submit("friday-night", [{"n": 2}])
    ```

    Behind a `FailingStore`, each may be cut off (`trouble("all", "full")`), paused
    (`trouble("all", "hangs")`) or killed; its beats alone may fail or come late
    (`trouble("beat", "slow", seconds=3.0)`).
    """

    lease: float = 5.0
    """After so many seconds without a beat a node may be declared dead."""
    margin: float = 0.5
    """So many seconds before, it stops."""
    clock: Callable[[], float] = field(factory=WallClock)
    """The clock that all go by: seconds since 1970."""
    _shared: _Shared = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._shared = _Shared(self.lease, self.margin, self.clock)

    def store(self) -> Store:
        """Return a store for the hall of one node. It can do what all stores of ours can."""
        shared = self._shared
        made = NodeStore(
            "memory:shared", shared.logs, shared.tombstones, shared=shared, lease=shared.new_lease()
        )
        shared.stores.append(made)
        return made


@define(eq=False)
class NodeStore(MemoryStore):
    """The store of one node.

    Every async call is a checkpoint, and when cancelled it has done nothing.
    """

    shared: _Shared = field(kw_only=True)
    lease: Lease = field(kw_only=True)
    node: Node = field(default=NOBODY, init=False)
    epochs: dict[str, int] = field(factory=dict, init=False)
    """Of the gatherings that this process knows to be its own."""

    def __attrs_post_init__(self) -> None:
        self._asleep = self.shared.asleep

    def ahead(self) -> float:
        """Return how many seconds the shared clock is ahead of Trio's."""
        return self.shared.clock() - trio.current_time()

    def owns(self, gathering: str) -> bool:
        """Whether a gathering is this node's, by what all share."""
        found = self.shared.owned.get(gathering)
        epoch = self.epochs.get(gathering)
        return found is not None and found.owner == self.node.id and found.epoch == epoch

    def _check(self, gathering: str) -> None:
        if not self.owns(gathering):
            raise TakenAway(f"gathering {gathering} isn't this node's")

    # Being a node.

    async def enroll(self, node: Node) -> None:
        """Become this node."""
        await trio.lowlevel.checkpoint()
        self.node, self.lease, self.epochs = node, self.shared.new_lease(), {}
        self.shared.nodes[node.id] = _Row(node, self.shared.clock())
        self.lease.beaten(trio.current_time())

    async def beat(self, node: Node) -> tuple[Node, ...]:
        """Say that we live. Raises `DeclaredDead`."""
        sent_at = trio.current_time()
        await trio.lowlevel.checkpoint()
        row = self.shared.nodes.get(self.node.id)
        if row is None:
            raise DeclaredDead(f"node {self.node.name} was declared dead")
        row.node, row.beat_at = node, self.shared.clock()
        row.beats += 1
        self.node = node
        self.lease.beaten(sent_at)
        return tuple(self.shared.as_told(one) for one in self.shared.nodes.values())

    async def resign(self) -> None:
        """Be no node any more."""
        await trio.lowlevel.checkpoint()
        row = self.shared.nodes.get(self.node.id)
        if row is not None:
            row.beat_at = -math.inf
        self.lease.lost()

    async def inherit(self, node: Node) -> bool:
        """Declare a node dead that has had no beat since it was so, and own what it had."""
        await trio.lowlevel.checkpoint()
        shared, row = self.shared, self.shared.nodes.get(node.id)
        ours = shared.nodes.get(self.node.id)
        if row is None or ours is None or row is ours:
            return False
        if row.beats != node.beats and row.beat_at > -math.inf:
            return False
        del shared.nodes[node.id]
        for gathering, owned in shared.owned.items():
            if owned.owner == node.id:
                self._take(gathering, owned)
        ours.arrivals += 1
        return True

    def _take(self, gathering: str, owned: _Owned) -> None:
        """Own what a dead node has left of a gathering, or let nobody own it."""
        owned.epoch += 1
        owned.is_left = self._estate(gathering) is not None
        owned.owner = self.node.id if owned.is_left else ""

    # Having gatherings.

    async def claim(self, gathering: str) -> Claim:
        """Own a gathering, unless another node has it."""
        await trio.lowlevel.checkpoint()
        shared = self.shared
        owned = shared.owned.setdefault(gathering, _Owned())
        row = shared.nodes.get(owned.owner)
        if self.node.id not in shared.nodes:
            return Claim(gathering, NOBODY if row is None else shared.as_told(row), owned.epoch)
        if owned.owner != self.node.id:
            if row is not None:
                return Claim(gathering, shared.as_told(row), owned.epoch)
            owned.owner = self.node.id
            owned.epoch += 1
        self.epochs[gathering] = owned.epoch
        estate = self._estate(gathering)
        owned.is_left = estate is not None
        return Claim(gathering, self.node, owned.epoch, estate)

    def _estate(self, gathering: str) -> Estate | None:
        """Return what there is of a gathering of which nothing lives."""
        slept, lost = self.shared.slept(gathering), None
        asleep = None if slept is None else slept.state.incarnation
        for opened in self.shared.open.values():
            if opened.gathering == gathering and opened.incarnation != asleep:
                log = self.shared.logs.get(gathering)
                lost = OpenIncarnation(opened, None if log is None else log.seq)
        if slept is None and lost is None:
            return None
        return Estate(gathering=gathering, slept=slept, lost=lost)

    async def owner_of(self, gathering: str) -> Claim | None:
        """Return who has a gathering; None if nobody."""
        await trio.lowlevel.checkpoint()
        owned = self.shared.owned.get(gathering, _Owned())
        row = self.shared.nodes.get(owned.owner)
        return None if row is None else Claim(gathering, self.shared.as_told(row), owned.epoch)

    async def peers_secret(self) -> bytes:
        """Return by what the nodes know each other."""
        await trio.lowlevel.checkpoint()
        return self.shared.secret

    def release_nowait(self, gathering: str) -> None:
        """Own a gathering no more."""
        if self.owns(gathering):
            owned = self.shared.owned[gathering]
            owned.owner, owned.is_left = "", False
            slept = self.shared.slept(gathering)
            if slept is not None:
                del self.shared.asleep[slept.state.incarnation]
        self.epochs.pop(gathering, None)

    async def give(self, gatherings: Sequence[str], to: Node) -> tuple[str, ...]:
        """Give gatherings that sleep to another node."""
        await trio.lowlevel.checkpoint()
        row = self.shared.nodes.get(to.id)
        for one in gatherings:
            may_go = row is not None and row.node.state is NodeState.UP
            if may_go and self.owns(one) and self.shared.slept(one) is not None:
                owned = self.shared.owned[one]
                owned.owner, owned.is_left = to.id, True
                owned.epoch += 1
        if row is not None:
            row.arrivals += 1
        given = tuple(one for one in gatherings if not self.owns(one))
        for one in given:
            self.epochs.pop(one, None)
        return given

    async def arrived(self, limit: int) -> tuple[Estate, ...]:
        """Return what other nodes have left to us."""
        await trio.lowlevel.checkpoint()
        found = (
            (gathering, owned)
            for gathering, owned in self.shared.owned.items()
            if owned.is_left and owned.owner == self.node.id
        )
        estates: list[Estate] = []
        for gathering, owned in islice(found, limit):
            self.epochs[gathering] = owned.epoch
            estates.append(self._estate(gathering) or Estate(gathering=gathering))
        return tuple(estates)

    async def settle(self, gatherings: Sequence[str]) -> None:
        """Note that what was left was taken up."""
        await trio.lowlevel.checkpoint()
        for one in gatherings:
            if self.owns(one):
                owned = self.shared.owned[one]
                owned.is_left = False

    # What only the owner may do.

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from. Raises `TakenAway`."""
        restored = await super().load(gathering, recent_syncs=recent_syncs)
        self._check(gathering)
        return restored

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append at once. Raises `TakenAway`."""
        self._check(append.gathering)
        return super().append_nowait(append, ended)

    async def append(self, append: Append) -> None:
        """Append at once. Raises `TakenAway`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check(append.gathering)
        await super().append(append)

    async def changes(self) -> int:
        """Return how often whole logs were changed, by whichever node."""
        await trio.lowlevel.checkpoint()
        return sum(one._changes for one in self.shared.stores)

    async def sleeping(self) -> tuple[Slept, ...]:
        """Return nothing: who slept comes as an estate."""
        await trio.lowlevel.checkpoint()
        return ()

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Remember some, and forget others, as far as they are ours."""
        ours = [one for one in asleep if self.owns(one.gathering)]
        known = self.shared.asleep
        woken = [one for one in awake if one in known and self.owns(known[one].gathering)]
        await super().write_sleep(asleep=ours, awake=woken)

    # Lifecycle events: one outbox for all.

    async def begin_events(self) -> EventsLeft:
        """Say how much waits; a dead node's open incarnations come as estates."""
        await trio.lowlevel.checkpoint()
        return EventsLeft(0, len(self.shared.events), ())

    def end_events(self) -> None:
        """Do nothing: nobody has the outbox for itself."""

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Take events of gatherings that are ours; each once, by its id."""
        await trio.lowlevel.checkpoint()
        shared = self.shared
        for event in events:
            if event.id in shared.event_ids or not self.owns(event.gathering):
                continue
            shared.last_event += 1
            shared.event_ids.add(event.id)
            shared.events[shared.last_event] = evolve(event, number=shared.last_event)
            if event.kind is EventKind.OPENED:
                shared.open[event.incarnation] = event
            elif event.kind is EventKind.DISPERSED:
                shared.open.pop(event.incarnation, None)
                shared.asleep.pop(event.incarnation, None)

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        """Return the first events of all nodes that weren't delivered."""
        await trio.lowlevel.checkpoint()
        found = (event for number, event in self.shared.events.items() if after < number <= up_to)
        return tuple(islice(found, limit))

    async def forget_events(self, *, up_to: int) -> None:
        """Forget what was delivered."""
        await trio.lowlevel.checkpoint()
        for number in [one for one in self.shared.events if one <= up_to]:
            del self.shared.events[number]
