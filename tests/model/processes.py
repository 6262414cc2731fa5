"""Processes: killed, started again, cut off from the store, declared dead, inherited from."""

from attrs import frozen

from squire_gatherings._rules.lease import Lease
from tests.model.appends import Appends
from tests.model.checker import replaced, without
from tests.model.rooms import Steps
from tests.model.world import LEASE, MARGIN, Node, NodeId, Room, Row, World


@frozen
class Processes(Appends):
    """The nodes, and their rows in the store."""

    def _process(self, world: World, place: int) -> Steps:
        node, budget = world.nodes[place], world.budget
        me: NodeId = (place, node.generation)
        if not node.is_up:
            yield f"{place} starts again", self._enrolled(world, place)
            return
        if budget.crashes:
            after = world._replace(budget=budget._replace(crashes=budget.crashes - 1))
            yield f"{place} is killed", self._killed(after, place)
        if self.places == 1:
            return
        is_known = any(row.node == me for row in world.rows)
        if not node.is_cut:
            if budget.silences:
                after = world._replace(budget=budget._replace(silences=budget.silences - 1))
                cut = node._replace(is_cut=True)
                yield f"{place} is cut off", self._with_node(after, place, cut)
        elif not is_known:
            after = world
            for gathering, room in enumerate(world.rooms[place]):
                if room is not None:
                    after = self._ended(after, place, gathering, room)
            yield f"{place} hears that it is dead", self._enrolled(after, place)
        elif node.sent is None:
            rows = tuple(one._replace(age=0) if one.node == me else one for one in world.rows)
            after = self._with_node(world, place, node._replace(sent=0))
            yield f"a beat of {place} lands", after._replace(rows=rows)
        if node.sent is not None:
            lease = Lease(float(LEASE), float(MARGIN), float(node.left))
            lease.beaten(0.0 if self.has("counts from the answer") else -float(node.sent))
            heard = node._replace(
                sent=None, left=int(max(0.0, lease.until)), is_cut=lease.until < LEASE - MARGIN
            )
            yield f"{place} hears of its beat", self._with_node(world, place, heard)
        for row in world.rows:
            is_silent = row.age > LEASE or self.has("declares the living dead")
            is_ours = is_known or self.has("the dead inherit")
            if row.node != me and is_silent and is_ours:
                yield f"{place} inherits from {row.node}", self._inherited(world, place, row)

    def _killed(self, world: World, place: int) -> World:
        node = world.nodes[place]._replace(is_up=False, left=0, sent=None)
        rooms = replaced(world.rooms, place, (None,) * self.gatherings)
        world = world._replace(nodes=replaced(world.nodes, place, node), rooms=rooms)
        for client, me in enumerate(world.clients):
            if me.at == place:
                gone = me._replace(at=None, is_in=False, sent=())
                world = self._with_client(world, client, gone)
        if self.places == 1:
            # What another node would find out, the next process of the store knows at once.
            row = next(row for row in world.rows if row.node[0] == place)
            world = self._inherited(world, place, row)
        return world

    def _enrolled(self, world: World, place: int) -> World:
        generation = world.nodes[place].generation + 1
        node = Node(generation)
        rows = (*world.rows, Row((place, generation), 0))
        return world._replace(nodes=replaced(world.nodes, place, node), rows=tuple(sorted(rows)))

    def _inherited(self, world: World, place: int, row: Row) -> World:
        world = world._replace(rows=without(world.rows, row))
        me: NodeId = (place, world.nodes[place].generation)
        for gathering, stored in enumerate(world.stored):
            if stored.owner != row.node:
                continue
            slept = stored.slept
            is_ours = slept is not None and self.places > 1
            stored = stored._replace(owner=me if is_ours else None, epoch=stored.epoch + 1)
            world = world._replace(stored=replaced(world.stored, gathering, stored))
            if slept is not None and is_ours:
                age = 0 if self.has("a sleeper's time begins anew") else slept.age
                room = Room(stored.epoch, age, age, is_asleep=True)
                world = self._with_room(world, place, gathering, room)
        return world

    def _beats(self, world: World, row: Row) -> bool:
        place, generation = row.node
        node = world.nodes[place]
        return node.is_up and not node.is_cut and node.generation == generation
