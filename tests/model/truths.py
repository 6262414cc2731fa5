"""Truths: what must hold in each state."""

from typing import Protocol

from tests.model.checker import Violation
from tests.model.world import Node, World


class Rules(Protocol):
    """What of the model they ask."""

    @property
    def messages(self) -> int:
        """How many each client has to say."""
        ...

    def gathering_of(self, client: int) -> int:
        """Where a client wants to be."""
        ...

    def may_show(self, node: Node) -> bool:
        """Whether what a node has is still its own."""
        ...


def must(holds: bool, what: str) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(what)


def check_state(world: World, model: Rules) -> None:
    """Check a state."""
    for stored in world.stored:
        must(len({*stored.log}) == len(stored.log), "a sync is applied twice")
    for client, me in enumerate(world.clients):
        gathering = model.gathering_of(client)
        log = world.stored[gathering].log
        for message, seq in me.acked:
            must(log[seq - 1 : seq] == ((client, message),), "what was acknowledged is lost")
        if me.at is None:
            continue
        room = world.rooms[me.at][gathering]
        must(world.nodes[me.at].is_up and room is not None, "an end, and it wasn't told")
        assert room is not None
        mine = [
            one.message
            for one in (*room.inbox, *room.deferred)
            if (one.client, one.connection) == (client, me.connection)
        ]
        if me.is_in:
            must((client, me.connection) in room.clients, "it is in, and nobody knows")
            must(room.clients.count((client, me.connection)) == 1, "it was let in twice")
            must(sorted(me.sent) == sorted(mine), "a request that is never answered, or twice")  # type: ignore[type-var]
        else:
            must(mine == [None], "a join that is never answered, or twice")
    for gathering, stored in enumerate(world.stored):
        for rooms in world.rooms:
            room = rooms[gathering]
            if room is not None and room.epoch == stored.epoch:
                must(room.age == world.used[gathering], "it doesn't know when it was used")
        showing = [
            place
            for place, rooms in enumerate(world.rooms)
            if rooms[gathering] is not None and model.may_show(world.nodes[place])
        ]
        must(len(showing) <= 1, f"two nodes show the same gathering: {showing}")


def is_done(world: World, model: Rules) -> bool:
    """Whether nothing is left to do: everybody was answered, and all that was unused has ended."""
    return (
        not any(room for rooms in world.rooms for room in rooms)
        and not world.appends
        and all(node.is_up for node in world.nodes)
        and all(me.is_out or len(me.acked) == model.messages for me in world.clients)
        and all(me.at is None for me in world.clients)
    )
