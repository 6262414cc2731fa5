"""The world: one state of the model. Times are ages in ticks: how long ago something was."""

from typing import NamedTuple

Sync = tuple[int, int]
"""A client, and the number of its message."""

NodeId = tuple[int, int]
"""The place where a process runs, and which process there it is: 0, 1, 2 …"""

IDLE = 2
"""So many ticks after the last use a gathering ends."""

LEASE, MARGIN = 2, 1
"""A node that was silent for longer may be declared dead; its lease ends sooner by the margin."""


class Slept(NamedTuple):
    """What the store remembers of a gathering that sleeps: the same incarnation goes on."""

    age: int


class Stored(NamedTuple):
    """What the store has of one gathering."""

    log: tuple[Sync, ...] = ()
    owner: NodeId | None = None
    epoch: int = 0
    slept: Slept | None = None


class Row(NamedTuple):
    """What the store has of a node."""

    node: NodeId
    age: int
    """How long ago its last beat was."""


class Node(NamedTuple):
    """A process."""

    generation: int = 0
    is_up: bool = True
    left: int = LEASE - MARGIN
    """How long its lease still is; it is over at 0."""
    is_cut: bool = False
    """Whether it can't reach the store, or is held up. Others beat at each tick."""
    sent: int | None = None
    """How long ago a beat of one that is cut off came to the store, whose answer hasn't come."""


class Request(NamedTuple):
    """What a client has said. `connection` is which of its connections said it."""

    client: int
    connection: int
    message: int | None
    """None for a join."""


class Room(NamedTuple):
    """One incarnation, where it is in memory."""

    epoch: int
    """The store's number of the ownership with which it writes."""
    opened: int = 0
    age: int = 0
    """How long ago it was used."""
    known: tuple[Sync, ...] = ()
    """The log as far as it is durable, as it knows."""
    added: tuple[Sync, ...] = ()
    """What comes after it, and isn't durable yet."""
    inbox: tuple[Request, ...] = ()
    deferred: tuple[Request, ...] = ()
    """What is answered once all is durable."""
    clients: tuple[tuple[int, int], ...] = ()
    """Who is in it: clients, and their connections."""
    is_committing: bool = False
    is_in_trouble: bool = False
    is_asleep: bool = False


class Append(NamedTuple):
    """An append that is under way. Its process may have died since."""

    node: NodeId
    gathering: int
    epoch: int
    first: int
    syncs: tuple[Sync, ...]
    result: str = ""
    """What the store will say: "ok", "failed" or "taken"; empty while it has done nothing."""


class Client(NamedTuple):
    """A client."""

    connection: int = 0
    """How many connections it has had."""
    at: int | None = None
    """The place to which it is connected."""
    is_in: bool = False
    """Whether it was let in there."""
    sent: tuple[int, ...] = ()
    """What it has said on this connection, and wasn't answered."""
    acked: tuple[tuple[int, int], ...] = ()
    """Its messages that were acknowledged, and their seqs."""
    is_out: bool = False
    """Whether its rights were revoked."""


class Budget(NamedTuple):
    """How often something may still happen."""

    crashes: int = 0
    cuts: int = 0
    failures: int = 0
    revocations: int = 0
    sleeps: int = 0
    ends: int = 0
    """Ends that the program orders."""
    silences: int = 0
    """Nodes that are cut off from the store."""
    booms: int = 0
    """Crashes of a behaviour."""


class World(NamedTuple):
    """One state."""

    stored: tuple[Stored, ...]
    rows: tuple[Row, ...]
    nodes: tuple[Node, ...]
    rooms: tuple[tuple[Room | None, ...], ...]
    """By place, then by gathering."""
    clients: tuple[Client, ...]
    appends: tuple[Append, ...]
    budget: Budget
    used: tuple[int, ...]
    """By gathering, how long ago a message was processed, or it was opened: what the model itself
    knows, whatever rooms believe."""


def canonical(world: World) -> World:
    """Return the same state with the smallest numbers that tell apart what must be told apart.

    Of connections, epochs and processes only matters which are the same, and which came later.
    """
    connections = [one.connection for one in world.clients]
    old_epochs: list[dict[int, int]] = []
    for gathering, stored in enumerate(world.stored):
        found = {stored.epoch}
        found |= {room.epoch for rooms in world.rooms if (room := rooms[gathering]) is not None}
        found |= {one.epoch for one in world.appends if one.gathering == gathering}
        old_epochs.append({epoch: number for number, epoch in enumerate(sorted(found))})
    processes = {row.node for row in world.rows} | {one.node for one in world.appends}
    processes |= {stored.owner for stored in world.stored if stored.owner is not None}
    processes |= {(place, node.generation) for place, node in enumerate(world.nodes)}
    ids: dict[NodeId, NodeId] = {}
    counts = [0] * len(world.nodes)
    for place, generation in sorted(processes):
        ids[place, generation] = (place, counts[place])
        counts[place] += 1

    def request(one: Request) -> Request:
        return one._replace(connection=int(one.connection == connections[one.client]))

    def room_of(room: Room | None, gathering: int) -> Room | None:
        return room and room._replace(
            epoch=old_epochs[gathering][room.epoch],
            inbox=tuple(map(request, room.inbox)),
            deferred=tuple(map(request, room.deferred)),
            clients=tuple(
                sorted((who, int(number == connections[who])) for who, number in room.clients)
            ),
        )

    return world._replace(
        stored=tuple(
            one._replace(
                owner=None if one.owner is None else ids[one.owner],
                epoch=old_epochs[gathering][one.epoch],
            )
            for gathering, one in enumerate(world.stored)
        ),
        rows=tuple(sorted(row._replace(node=ids[row.node]) for row in world.rows)),
        nodes=tuple(
            node._replace(generation=ids[place, node.generation][1])
            for place, node in enumerate(world.nodes)
        ),
        rooms=tuple(
            tuple(room_of(room, gathering) for gathering, room in enumerate(rooms))
            for rooms in world.rooms
        ),
        clients=tuple(one._replace(connection=1) for one in world.clients),
        appends=tuple(
            sorted(
                one._replace(node=ids[one.node], epoch=old_epochs[one.gathering][one.epoch])
                for one in world.appends
            )
        ),
    )
