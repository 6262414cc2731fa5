"""The base: how many there are of each, what is wrong on purpose, and changes of a state."""

from attrs import frozen

from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._rules.lease import Lease
from squire_gatherings._values.end_rules import EndRules
from tests.model.checker import replaced
from tests.model.world import IDLE, LEASE, MARGIN, Budget, Client, Node, Room, Sync, World

RULES = EndRules(idle_timeout=float(IDLE))
NOTHING = Budget()


@frozen
class Base:
    """So many places, gatherings, clients, and messages of each client."""

    places: int = 1
    gatherings: int = 1
    clients: int = 2
    messages: int = 1
    budget: Budget = NOTHING
    faults: frozenset[str] = frozenset()
    """What is wrong on purpose."""
    speaks_in_order: bool = True
    """Whether a client says again what wasn't acknowledged before it says anything new."""
    late: tuple[Sync, ...] = ()
    """What clients say just after they were told of an end: the next incarnation takes it."""

    def gathering_of(self, client: int) -> int:
        """Return where a client wants to be."""
        return client % self.gatherings

    def has(self, fault: str) -> bool:
        """Whether this is wrong on purpose."""
        return fault in self.faults

    def may_show(self, node: Node) -> bool:
        """Whether what a node has is still its own, as far as it knows."""
        lease = Lease(float(LEASE), float(MARGIN), float(node.left))
        return lease.is_valid(0.0) or self.has("shows beyond its lease")

    def is_due(self, room: Room) -> bool:
        """Whether it is time for the end."""
        last = -float(room.age)
        deadline = Deadline(RULES, -float(room.opened), last)
        return deadline.at <= (1.0 if self.has("ends a tick too early") else 0.0)

    def _with_room(self, world: World, place: int, gathering: int, room: Room | None) -> World:
        row = world.rooms[place]
        row = (*row[:gathering], room, *row[gathering + 1 :])
        return world._replace(rooms=replaced(world.rooms, place, row))

    def _with_node(self, world: World, place: int, node: Node) -> World:
        return world._replace(nodes=replaced(world.nodes, place, node))

    def _with_client(self, world: World, client: int, value: Client) -> World:
        return world._replace(clients=replaced(world.clients, client, value))

    def _used(self, world: World, gathering: int, room: Room) -> World:
        """The model notes a use, unless another node has the gathering meanwhile."""
        if room.epoch != world.stored[gathering].epoch:
            return world
        return world._replace(used=self._without_use(world, gathering))

    def _without_use(self, world: World, gathering: int) -> tuple[int, ...]:
        return (*world.used[:gathering], 0, *world.used[gathering + 1 :])
