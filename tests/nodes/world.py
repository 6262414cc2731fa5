"""Nodes in one process: halls that share a store in memory, each behind a store that may fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Unpack

import trio
from attrs import define, field

from squire_gatherings._cluster.node import LocalNode, local_node_of
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._open_hall import open_hall
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import ServerMessage, Sync
from squire_gatherings._values.nodes import Node
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallOptions
from squire_gatherings.testing import FailingStore, Recorder, SharedMemory

ROOM = "friday-night"


@define(eq=False)
class NodeUnderTest:
    """A hall that is one of several nodes."""

    hall: Hall
    store: FailingStore
    power: trio.CancelScope
    stopping: trio.Event = field(factory=trio.Event)
    """Set where somebody runs it who is to stop it."""
    gone: trio.Event = field(factory=trio.Event)

    @property
    def local(self) -> LocalNode:
        """What it does as a node."""
        local = local_node_of(self.hall)
        assert local is not None
        return local

    def cut(self) -> None:
        """Cut it off from the store: each call fails at once."""
        self.store.trouble("all", "full", error=StoreUnavailable("cut off"))

    def pause(self) -> None:
        """Have each call of its store hang, as if the process were stopped."""
        self.store.trouble("all", "hangs")

    def heal(self) -> None:
        """Have all be well again."""
        self.store.heal()

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        self.store.kill(lands=False)
        self.power.cancel()
        await self.gone.wait()

    async def join(self, gathering: str = ROOM, **join: Any) -> tuple[Membership, Recorder]:
        """Join, by a connection that keeps what it is told."""
        recorder = Recorder()
        join.setdefault("identity", Identity("anna"))
        return await self.hall.join(gathering, recorder, **join), recorder


@asynccontextmanager
async def open_node(
    shared: SharedMemory, name: str, *, on_event: Any = None, **settings: Unpack[HallOptions]
) -> AsyncIterator[NodeUnderTest]:
    """Open a hall as one node of those that share this memory."""
    store = FailingStore(shared.store())
    node = Node(id=name, name=name)
    with trio.CancelScope() as power:
        try:
            async with (
                open_hidden_nursery() as writers,
                open_hall(
                    store=store, node=node, on_event=on_event, wall_clock=shared.clock, **settings
                ) as hall,
            ):
                store.nursery = writers
                under_test = NodeUnderTest(hall, store, power)
                yield under_test
                await hall.close()
                writers.cancel_scope.cancel()
        finally:
            under_test.gone.set()


def sync(number: int, base: int = 0) -> Sync:
    """Return a sync of one op."""
    return Sync(f"s{number}", base, (Op.of({"n": number}),))


def kinds(recorder: Recorder) -> list[type[ServerMessage]]:
    """Return the classes of the messages that came."""
    return [type(message) for _, message in recorder.received]
