"""Halls under a small nemesis: nodes in one process, on a virtual clock, and what they answer.

Each seed is a run: clients submit, read and go from node to node while the nodes' ways to the store
are cut off, hang or take their time. What the clients were told is a history for the checkers.
"""

import random
from contextlib import AsyncExitStack

import trio
from attrs import define, field

from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._values.errors import GatheringsError, OwnedElsewhere
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import (
    Ack,
    Error,
    Fetch,
    Fetched,
    Forward,
    ForwardBatch,
    Joined,
    Sync,
    Synced,
)
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings.testing import Recorder, SharedMemory
from tests.nemesis.history import Append, Operation, Read, Sight
from tests.nodes.world import NodeUnderTest, open_node

ROOM = "friday-night"
PATIENCE = 3.0
"""A client that isn't answered for so many seconds goes to another node."""
REST = 30.0
"""Seconds without faults, in which everybody is answered in the end."""


@define
class Instants:
    """The virtual clock, on which no two things happen at once: the later one is a bit later."""

    _last: float = 0.0

    def now(self) -> float:
        """Return an instant that was never returned before."""
        self._last = max(trio.current_time(), self._last + 1e-9)
        return self._last


@define
class Pending:
    """A sync that isn't answered yet."""

    op: str
    invoked: float
    is_repeated: bool = False


class Ear(Recorder):
    """A connection that notes in the history what comes."""

    def __init__(self, client: "Client", asked: float) -> None:
        """Make one for a client that asks to join at this instant."""
        super().__init__()
        self.client = client
        self.asked = asked
        self.incarnation = ""
        self.fetched_at = 0.0

    def send(self, outgoing: Outgoing) -> None:
        """Note a message."""
        if not self.closed:
            self._note(outgoing.message)
        super().send(outgoing)

    def _note(self, message: object) -> None:
        client, now = self.client, self.client.instants.now()
        match message:
            case Joined():
                self.incarnation = message.incarnation
                client.read(self, self.asked, message, client.have)
            case Fetched():
                client.read(self, self.fetched_at, message, 0)
            case Forward():
                client.sees(message.seq, (message.op,))
            case ForwardBatch():
                client.sees(message.seq, message.ops)
            case Synced() if message.id in client.pending:
                pending = client.pending.pop(message.id)
                client.have = max(client.have, message.seqs[-1])
                client.history.append(
                    Append(
                        client=client.name,
                        invoked=pending.invoked,
                        returned=now,
                        ops=(pending.op,),
                        first=message.seqs[0],
                        # One that was sent before may have been done by an earlier incarnation.
                        incarnation=None if pending.is_repeated else self.incarnation,
                    )
                )


@define(eq=False)
class Client:
    """One client, which goes on until it is told to come to an end."""

    name: str
    history: list[Operation]
    nodes: dict[str, NodeUnderTest]
    choose: random.Random
    instants: Instants
    pending: dict[str, Pending] = field(factory=dict)
    have: int = 0
    is_ending: bool = False
    _count: int = 0

    async def live(self) -> None:
        """Visit one node after the other; in the end, until all is answered."""
        target: str | None = None
        while not self.is_ending or self.pending:
            target = await self._visit(target or self.choose.choice(sorted(self.nodes)))
            await trio.sleep(self.choose.uniform(0.01, 0.5))

    async def _visit(self, name: str) -> str | None:
        """Join at a node; return which other one has the gathering, if that's so."""
        ear = Ear(self, self.instants.now())
        membership: Membership | None = None
        with trio.move_on_after(PATIENCE):
            try:
                membership = await self.nodes[name].hall.join(
                    ROOM, ear, since=self.have, client=self.name, identity=Identity(self.name)
                )
            except OwnedElsewhere as error:
                return error.node.name
            except GatheringsError:
                return None
        if membership is None:
            return None
        try:
            await self._stay(ear, membership)
        except GatheringsError:
            return None
        finally:
            membership.detach()
        return None

    async def _stay(self, ear: Ear, membership: Membership) -> None:
        leaves_at = trio.current_time() + self.choose.uniform(1, 15)
        for id_ in list(self.pending):
            self.pending[id_].is_repeated = True
            await self._sync(membership, id_)
        while trio.current_time() < leaves_at and not ear.closed:
            with trio.move_on_after(PATIENCE) as scope:
                await self._ask(ear, membership)
            if scope.cancelled_caught or (self.is_ending and not self.pending):
                return
            await trio.sleep(self.choose.uniform(0, 0.5))

    async def _ask(self, ear: Ear, membership: Membership) -> None:
        """Ask for one thing, and wait for the answer."""
        before = len(ear.of(Error))
        await membership.deliver(Ack(self.have))
        if self.choose.random() < 0.6 and not self.is_ending:
            self._count += 1
            id_ = f"{self.name}.{self._count}"
            self.pending[id_] = Pending(id_, self.instants.now())
            await self._sync(membership, id_)
            await ear.wait_until(
                lambda: id_ not in self.pending or bool(ear.closed) or len(ear.of(Error)) > before
            )
        else:
            ear.fetched_at, answers = self.instants.now(), len(ear.of(Fetched))
            await membership.deliver(Fetch("f", 0))
            await ear.wait_until(
                lambda: (
                    len(ear.of(Fetched)) > answers
                    or bool(ear.closed)
                    or len(ear.of(Error)) > before
                )
            )

    async def _sync(self, membership: Membership, id_: str) -> None:
        await membership.deliver(Sync(id_, self.have, (Op.of({"is": self.pending[id_].op}),)))

    # What it is told.

    def read(self, ear: Ear, asked: float, shown: Joined | Fetched, since: int) -> None:
        """Note what a join or a fetch was answered."""
        assert isinstance(shown.ops, tuple)
        if isinstance(shown, Joined):
            self.have = since + len(shown.ops)
        self.history.append(
            Read(
                client=self.name,
                invoked=asked,
                returned=self.instants.now(),
                seq=shown.seq,
                first=since + 1,
                ops=_texts(shown.ops),
                incarnation=ear.incarnation,
            )
        )

    def sees(self, seq: int, ops: tuple[Op, ...]) -> None:
        """Note what was forwarded."""
        now = self.instants.now()
        self.history.append(Sight(client=self.name, at=now, first=seq, ops=_texts(ops)))
        self.have = max(self.have, seq + len(ops) - 1)


async def run(
    seed: int, shared: SharedMemory, seconds: float = 60.0, count: int = 3
) -> list[Operation]:
    """Run halls on what they share, and return what their clients were told.

    At last, another node reads the log as the store has it. Needs a virtual clock.
    """
    choose, instants = random.Random(seed), Instants()
    history: list[Operation] = []
    async with AsyncExitStack() as stack:
        nodes = {
            name: await stack.enter_async_context(open_node(shared, name, idle_timeout=5.0))
            for name in (f"n{number}" for number in range(1, count + 1))
        }
        clients = [
            Client(f"c{number}", history, nodes, random.Random(choose.random()), instants)
            for number in range(1, 6)
        ]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.live)
            await _trouble(nodes, shared, choose, seconds)
            for client in clients:
                client.is_ending = True
            nursery.cancel_scope.deadline = trio.current_time() + REST
        for client in clients:
            for one in client.pending.values():
                history.append(Append(client=client.name, invoked=one.invoked, ops=(one.op,)))
    async with open_node(shared, "last") as last:
        invoked = instants.now()
        page = await last.hall.fetch(ROOM, since=0)
        history.append(
            Read(
                client="last",
                invoked=invoked,
                returned=instants.now(),
                seq=page.seq,
                first=1,
                ops=_texts(page.ops),
                incarnation="last",
            )
        )
    return history


async def _trouble(
    nodes: dict[str, NodeUnderTest], shared: SharedMemory, choose: random.Random, seconds: float
) -> None:
    """Have one node after the other in trouble."""

    def slow(node: NodeUnderTest) -> None:
        node.store.trouble("append", "slow", seconds=choose.uniform(0, 9))

    def slow_and_silent(node: NodeUnderTest) -> None:
        slow(node)
        node.store.trouble("owners", "hangs")

    troubles = [NodeUnderTest.cut, NodeUnderTest.pause, slow, slow_and_silent]
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        await trio.sleep(choose.uniform(0.5, 4))
        node = nodes[choose.choice(sorted(nodes))]
        inner = nodes[choose.choice(sorted(nodes))].store.inner
        assert isinstance(inner, OwnerStore)
        claim = await inner.owner_of(ROOM)
        owners = [one for one in nodes.values() if claim and one.local.node.id == claim.owner.id]
        if owners and choose.random() < 0.7:
            # The others have little to lose.
            [node] = owners
        choose.choice(troubles)(node)
        await trio.sleep(choose.uniform(1, 9))
        node.heal()


def _texts(ops: tuple[Op, ...]) -> tuple[str, ...]:
    return tuple(str(op.value["is"]) for op in ops)
