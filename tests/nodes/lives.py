"""Lives on several nodes: clients, programs, and all that may happen to nodes meanwhile."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal

import trio
from attrs import define, field, frozen
from trio.testing import MockClock

from squire_gatherings._values.errors import GatheringsError, OwnedElsewhere
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Ack, Sync
from squire_gatherings._values.op import Op
from squire_gatherings.testing import SharedMemory
from tests.nodes.truth import Truth, Watched, require
from tests.nodes.world import NodeUnderTest, open_node

ROOMS = ("a", "b")
NODES = 3
CLIENTS = 3

IDLE = 40.0
"""Gatherings end after so many seconds."""

PATIENCE = 15.0
"""So long a client waits for an answer."""

What = Literal[
    "wait", "join", "sync", "submit", "fetch", "evict", "disperse", "hold", "move", "drain",
    "cut", "pause", "heal", "late beat", "kill", "leave", "start",
]  # fmt: skip


@frozen
class Step:
    """Something that happens."""

    what: What
    node: int = 0
    other: int = 0
    """The client; or the node to which something moves."""
    room: int = 0
    seconds: float = 0.0


@define(eq=False)
class Member:
    """A client that comes back where it is told to."""

    name: str
    room: str
    connection: Watched | None = None
    membership: object = None
    seq: int = 0
    unanswered: dict[str, Sync] = field(factory=dict)


@define(eq=False)
class Lives:
    """All that lives."""

    shared: SharedMemory
    truth: Truth
    nursery: trio.Nursery
    nodes: list[NodeUnderTest | None] = field(factory=lambda: [None] * NODES)
    members: list[Member] = field(factory=list)
    connections: list[Watched] = field(factory=list)
    _since: dict[int, float] = field(factory=dict)
    """Since when something is wrong with nodes."""
    _dark_since: float = 0.0
    """When a node went last."""
    _number: int = 0
    _started: int = 0

    # Nodes.

    async def start(self, slot: int) -> None:
        """Start a node, if there's none at this place."""
        if self.nodes[slot] is None:
            if not any(self.nodes):
                # Nobody was there to go on with what the last one had.
                now = trio.current_time()
                self.truth.troubles.append((self._dark_since, now + self.shared.lease + 2.0))
            self._started += 1
            self.nodes[slot] = await self.nursery.start(self._run, slot, f"{slot}.{self._started}")

    async def _run(
        self, slot: int, name: str, *, task_status: trio.TaskStatus[NodeUnderTest]
    ) -> None:
        async with open_node(
            self.shared,
            name,
            on_event=self.truth.told,
            idle_timeout=IDLE,
            close_grace=1.0,
            retry_limit=1000.0,
        ) as node:
            task_status.started(node)
            await node.stopping.wait()

    async def end(self, slot: int, *, kills: bool) -> None:
        """Kill a node, or have it leave in order."""
        node = self.nodes[slot]
        if node is None:
            return
        self.nodes[slot] = None
        self._recovers(slot, self.shared.lease + 2.0 if kills else 2.0)
        self._dark_since = trio.current_time()
        if kills:
            for one in self.connections:
                one.is_cut = one.is_cut or one.node == node.local.node.id
            await node.kill()
            for member in self.members:
                if member.connection is not None and member.connection.is_cut:
                    member.membership = member.connection = None
        else:
            node.stopping.set()
            await node.gone.wait()

    def _suffers(self, slot: int) -> None:
        """Something is wrong with a node from now on."""
        self._since.setdefault(slot, trio.current_time())

    def _recovers(self, slot: int, after: float) -> None:
        """All is well with it after so many seconds."""
        now = trio.current_time()
        self.truth.troubles.append((self._since.pop(slot, now), now + after))

    async def ask(
        self, slot: int, work: Callable[[NodeUnderTest], Awaitable[object]]
    ) -> NodeUnderTest | None:
        """Ask a node, and the ones that it names; return the one that has answered."""
        node = self.nodes[slot]
        for _ in range(NODES):
            if node is None:
                return None
            try:
                with trio.fail_after(PATIENCE):
                    await work(node)
                return node
            except OwnedElsewhere as error:
                name = error.node.id
                here = [one for one in self.nodes if one is not None]
                node = next((one for one in here if one.local.node.id == name), None)
            except (GatheringsError, trio.TooSlowError):
                return None
        return None

    # Clients.

    async def join(self, slot: int, number: int) -> None:
        """Have a client come back, unless it is there."""
        member = self.members[number]
        if member.membership is not None and not self._is_gone(member):
            return
        self._part(member)
        member.membership = None

        async def enter(node: NodeUnderTest) -> None:
            connection = Watched(self.truth, member.room, node.local.node.id, seq=member.seq)
            self.connections.append(connection)
            membership = await node.hall.join(
                member.room,
                connection,
                since=member.seq,
                client=member.name,
                identity=Identity("anna"),
            )
            self._part(member)
            member.connection, member.membership = connection, membership
            for sync in tuple(member.unanswered.values()):
                connection.pending.add(sync.id)
                await membership.deliver(sync)

        await self.ask(slot, enter)

    def _is_gone(self, member: Member) -> bool:
        connection = member.connection
        return connection is None or connection.closed is not None or connection.is_cut

    def _part(self, member: Member) -> None:
        """Keep what the last connection has brought."""
        connection = member.connection
        if connection is not None:
            member.seq = max(member.seq, connection.seq)
            for one in tuple(member.unanswered):
                if one not in connection.pending:
                    del member.unanswered[one]
            if member.membership is not None:
                member.membership.detach()  # type: ignore[attr-defined]
        member.connection = None

    async def sync(self, number: int) -> None:
        """Have a client submit something, and repeat what was refused."""
        member = self.members[number]
        connection, membership = member.connection, member.membership
        if membership is None or connection is None or self._is_gone(member):
            return
        self._number += 1
        name = f"s{self._number}"
        new = Sync(name, connection.seq, (Op.of({"n": name}),))
        member.unanswered[name] = new
        again = [member.unanswered[one] for one in connection.refused if one in member.unanswered]
        connection.refused.clear()
        with trio.move_on_after(PATIENCE):
            for sync in (*again, new):
                connection.pending.add(sync.id)
                await membership.deliver(sync)  # type: ignore[attr-defined]
            if connection.seq:
                await membership.deliver(Ack(connection.seq))  # type: ignore[attr-defined]

    # Programs.

    async def submit(self, slot: int, room: str) -> None:
        """Have a program submit something."""
        self._number += 1
        name = f"p{self._number}"

        async def submit(node: NodeUnderTest) -> None:
            seqs = await node.hall.submit(room, [{"n": name}], sync_id=name)
            if not node.store.is_dead:
                self.truth.check_owner(room, node.local.node.id, "an answer")
                self.truth.synced(room, name, seqs)

        for _ in range(2):
            # The second time it finds what the first one may have done.
            await self.ask(slot, submit)

    async def fetch(self, slot: int, room: str) -> None:
        """Have a program read something."""

        async def fetch(node: NodeUnderTest) -> None:
            known = max(
                (seqs[-1] for (one, _), seqs in self.truth.acknowledged.items() if one == room),
                default=0,
            )
            page = await node.hall.fetch(room, since=0)
            if node.store.is_dead:
                return
            self.truth.check_owner(room, node.local.node.id, "a page")
            for seq, op in enumerate(page.ops, start=1):
                self.truth.showed(room, seq, op.value)
            # A read that began after an acknowledgement shows it.
            require(page.seq >= known, f"a page ends at {page.seq}, and {known} was acknowledged")

        await self.ask(slot, fetch)

    # What happens.

    async def step(self, one: Step) -> None:
        """Do it, or begin to."""
        room = ROOMS[one.room % len(ROOMS)]
        node = self.nodes[one.node]
        if one.what in ("evict", "disperse", "hold", "move"):
            owner = self.shared._shared.owner_of(room)
            here = [this for this in self.nodes if this is not None]
            node = next((this for this in here if this.local.node.id == owner), node)
        soon = self.nursery.start_soon
        match one.what:
            case "wait":
                await trio.sleep(one.seconds)
            case "join":
                soon(self.join, one.node, one.other)
            case "sync":
                soon(self.sync, one.other)
            case "submit":
                soon(self.submit, one.node, room)
            case "fetch":
                soon(self.fetch, one.node, room)
            case "start":
                await self.start(one.node)
            case "kill" | "leave":
                await self.end(one.node, kills=one.what == "kill")
            case _:
                if node is not None:
                    self._to_node(one, node, room)
        await trio.sleep(0.01)

    def _to_node(self, one: Step, node: NodeUnderTest, room: str) -> None:
        soon = self.nursery.start_soon
        match one.what:
            case "evict":
                soon(self._quietly, node, node.hall.evict, room)
            case "disperse":
                soon(self._quietly, node, node.hall.disperse, room)
            case "hold":
                with suppress(GatheringsError):
                    node.hall.hold(room, until=self.shared.clock() + one.seconds)
            case "move":
                other = self.nodes[one.node]
                if other is not None and other is not node:
                    soon(self._quietly, node, node.hall.move, room, other.local.node)
            case "drain":
                soon(self._quietly, node, node.hall.drain)
            case "cut":
                self._suffers(one.node)
                node.cut()
            case "pause":
                self._suffers(one.node)
                node.pause()
            case "heal":
                self._recovers(one.node, self.shared.lease + 2.0)
                node.heal()
            case "late beat":
                self._suffers(one.node)
                node.store.trouble("beat", "slow", seconds=one.seconds, calls=1)

    async def _quietly(
        self, node: NodeUnderTest, work: Callable[..., Awaitable[object]], *args: object
    ) -> None:
        with trio.move_on_after(PATIENCE), suppress(GatheringsError):
            await work(*args)


async def _live(shared: SharedMemory, truth: Truth, steps: Sequence[Step]) -> None:
    async with trio.open_nursery() as nursery:
        lives = Lives(shared, truth, nursery)
        lives.members = [Member(f"c{n}", ROOMS[n % len(ROOMS)]) for n in range(CLIENTS)]
        for slot in range(NODES):
            await lives.start(slot)
        for one in steps:
            await lives.step(one)
            if truth.failures:
                break
        # All is well again, and all comes to its end.
        for slot, node in enumerate(lives.nodes):
            if node is not None:
                lives._recovers(slot, shared.lease + 2.0)
                node.heal()
        await lives.start(0)
        await trio.sleep(2.5 * IDLE + 60.0)
        for slot in range(NODES):
            await lives.end(slot, kills=False)
        await lives.start(0)
        await trio.sleep(20.0)
        for node in lives.nodes:
            if node is not None:
                assert node.hall.gatherings() == ()
        truth.check_end()
        await lives.end(0, kills=False)
        nursery.cancel_scope.cancel()


def live(steps: Sequence[Step], shared: SharedMemory | None = None) -> None:
    """Live through these steps. Raises `Broken` if something doesn't hold."""
    clock = MockClock(autojump_threshold=0)

    async def run() -> None:
        memory = SharedMemory() if shared is None else shared
        await _live(memory, Truth(memory), steps)

    trio.run(run, clock=clock)
