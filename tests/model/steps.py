"""Steps: what may happen next. Each is what the hall does between two checkpoints."""

from attrs import frozen

from tests.model.checker import replaced, without
from tests.model.processes import Processes
from tests.model.rooms import Steps
from tests.model.truths import check_state, is_done
from tests.model.world import (
    IDLE,
    LEASE,
    Client,
    Node,
    Request,
    Room,
    Row,
    Stored,
    Sync,
    World,
    canonical,
)


@frozen
class Nodes(Processes):
    """The model as the checker sees it; and what clients and time do."""

    def first(self) -> World:
        """Return the first state: all nodes are up, and nobody has done anything."""
        return canonical(self._first())

    def _first(self) -> World:
        return World(
            (Stored(),) * self.gatherings,
            tuple(Row((place, 0), 0) for place in range(self.places)),
            (Node(),) * self.places,
            ((None,) * self.gatherings,) * self.places,
            (Client(),) * self.clients,
            (),
            self.budget,
            (0,) * self.gatherings,
        )

    def check(self, state: World) -> None:
        """Check what holds in each state."""
        check_state(state, self)

    def is_done(self, state: World) -> bool:
        """Whether nothing is left to do."""
        return is_done(state, self)

    def steps(self, world: World) -> Steps:
        """Yield what may happen."""
        for what, after in self._steps(world):
            yield what, canonical(after)

    def _steps(self, world: World) -> Steps:
        for client in range(self.clients):
            yield from self._client(world, client)
        for place in range(self.places):
            yield from self._process(world, place)
            if world.nodes[place].is_up:
                for gathering in range(self.gatherings):
                    if world.rooms[place][gathering] is not None:
                        yield from self._room(world, place, gathering)
        for append in world.appends:
            yield from self._store(world, append)
        if not is_done(world, self):
            yield "tick", self._tick(world)

    def _tick(self, world: World) -> World:
        rooms = tuple(
            tuple(
                room
                and room._replace(age=min(IDLE, room.age + 1), opened=min(IDLE, room.opened + 1))
                for room in row
            )
            for row in world.rooms
        )
        nodes = tuple(
            one._replace(
                left=max(0, one.left - (one.is_cut or not one.is_up)),
                sent=None if one.sent is None else min(LEASE, one.sent + 1),
            )
            for one in world.nodes
        )
        stored = tuple(
            one._replace(slept=one.slept and one.slept._replace(age=min(IDLE, one.slept.age + 1)))
            for one in world.stored
        )
        return world._replace(
            rooms=rooms,
            nodes=nodes,
            stored=stored,
            rows=tuple(
                one if self._beats(world, one) else one._replace(age=min(LEASE + 1, one.age + 1))
                for one in world.rows
            ),
            used=tuple(min(IDLE, age + 1) for age in world.used),
        )

    def _client(self, world: World, client: int) -> Steps:
        me = world.clients[client]
        gathering = self.gathering_of(client)
        for late in self.late if me.at is None else ():
            after = self._says_late(world, client, gathering, late)
            if late[0] == client and after is not None:
                yield f"client {client} has said {late[1]}, late", after
        if me.at is None:
            wants = len(me.acked) < self.messages and not me.is_out
            for place in range(self.places) if wants else ():
                after = self._joins(world, client, place, gathering)
                if after is not None:
                    yield f"client {client} asks to join at {place}", after
            return
        if world.budget.cuts:
            budget = world.budget._replace(cuts=world.budget.cuts - 1)
            yield (
                f"client {client} is cut off",
                self._gone(world._replace(budget=budget), client),
            )
        if world.budget.revocations and not me.is_out:
            budget = world.budget._replace(revocations=world.budget.revocations - 1)
            after = self._gone(world._replace(budget=budget), client, is_out=True)
            yield f"client {client} is put out", after
        if me.is_in:
            acked = {message for message, _ in me.acked}
            for message in range(self.messages):
                if message not in acked and message not in me.sent:
                    room = world.rooms[me.at][gathering]
                    assert room is not None
                    request = Request(client, me.connection, message)
                    room = room._replace(inbox=(*room.inbox, request))
                    after = self._with_room(world, me.at, gathering, room)
                    said = me._replace(sent=(*me.sent, message))
                    yield f"client {client} says {message}", self._with_client(after, client, said)
                    if self.speaks_in_order:
                        break

    def _says_late(self, world: World, client: int, gathering: int, sync: Sync) -> World | None:
        if sync in world.stored[gathering].log:
            return None
        room = world.rooms[0][gathering]
        if room is None:
            opened = self._opened(world, 0, gathering)
            if opened is None:
                return None
            world, room = opened
        request = Request(client, 0, sync[1])
        if request in room.inbox or sync in room.added:
            return None
        room = room._replace(inbox=(*room.inbox, request))
        return self._with_room(world, 0, gathering, room)

    def _joins(self, world: World, client: int, place: int, gathering: int) -> World | None:
        """A join: the gathering is found, or claimed and opened."""
        node, room = world.nodes[place], world.rooms[place][gathering]
        if not (node.is_up and self.may_show(node)):
            return None
        if room is None:
            opened = self._opened(world, place, gathering)
            if opened is None:
                return None
            world, room = opened
        me = world.clients[client]
        me = me._replace(connection=me.connection + 1, at=place, is_in=False, sent=())
        room = room._replace(inbox=(*room.inbox, Request(client, me.connection, None)))
        return self._with_client(self._with_room(world, place, gathering, room), client, me)

    def _opened(self, world: World, place: int, gathering: int) -> tuple[World, Room] | None:
        stored, node = world.stored[gathering], (place, world.nodes[place].generation)
        rows = {row.node for row in world.rows}
        if stored.owner not in (None, node) and (
            stored.owner in rows and not self.has("claims what another has")
        ):
            return None
        slept = stored.slept
        if slept is None:
            world = world._replace(used=self._without_use(world, gathering))
        age = 0 if slept is None else slept.age
        stored = stored._replace(owner=node, epoch=stored.epoch + 1)
        room = Room(stored.epoch, age, age, stored.log, is_asleep=slept is not None)
        return world._replace(stored=replaced(world.stored, gathering, stored)), room

    def _gone(self, world: World, client: int, *, is_out: bool = False) -> World:
        """A connection ends. What had come of it is still processed, unless it has no rights."""
        me = world.clients[client]
        assert me.at is not None
        gathering = self.gathering_of(client)
        room = world.rooms[me.at][gathering]
        if room is not None:
            inbox = room.inbox
            if is_out and not self.has("processes what was said before a revocation"):
                inbox = tuple(one for one in inbox if one.client != client)
            joins = Request(client, me.connection, None)
            room = room._replace(clients=without(room.clients, (client, me.connection)))
            if not self.has("lets in who has gone"):
                inbox = without(inbox, joins)
                room = room._replace(deferred=without(room.deferred, joins))
            room = room._replace(inbox=inbox)
            world = self._with_room(world, me.at, gathering, room)
        me = me._replace(at=None, is_in=False, sent=(), is_out=me.is_out or is_out)
        return self._with_client(world, client, me)
