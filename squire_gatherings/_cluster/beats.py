"""Beats: keep this process one of the nodes that share a store, as long as it lives."""

import logging
import math
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import trio
from attrs import define, evolve, field

from squire_gatherings._cluster.machine import this_machine
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._values.errors import DeclaredDead, StoreUnavailable
from squire_gatherings._values.nodes import Node

_log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Every so many seconds a node says that it lives; or so often in each lease, if that's short:"""
IN_A_LEASE = 5

LAST_WORDS = 1.0
"""How many seconds it may take to say that we are no node any more."""


def _nothing() -> None:
    """Do nothing: there is no hall yet."""


def _ignore(_: bool) -> None:
    """Do nothing: there is no hall yet."""


@define(eq=False)
class Beats:
    """The beats of this process."""

    store: OwnerStore
    node: Node
    """What the next beat says of us."""
    nodes: tuple[Node, ...] = ()
    """All nodes, as of the last beat."""
    count_beats: int = 0
    """How many were taken."""
    late: int = 0
    """How many came later than twice the time that there is between them."""
    deaths: int = 0
    """How often we were declared dead."""
    on_beat: Callable[[bool], None] = _ignore
    """Called after each beat that was taken: whether the lease hadn't been valid before."""
    on_lost: Callable[[], None] = _nothing
    """Called when we were declared dead. We are another node afterwards."""
    _taken_at: float = math.inf
    """When the last one was taken."""
    _turn: trio.Lock = field(factory=trio.Lock)
    _trouble: StoreUnavailable | None = None
    _scope: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True))

    @property
    def interval(self) -> float:
        """Every how many seconds there is one."""
        return min(INTERVAL, self.store.lease.duration / IN_A_LEASE)

    async def begin(self) -> None:
        """Become a node.

        Raises:
            StoreUnavailable: Not now.

        Cancellation: we may be one, which is declared dead in time.
        """
        with store_trouble():
            await self.store.enroll(self.node)
        self.nodes = (self.node,)

    async def run(self) -> None:
        """Say again and again that we live, until `stop`.

        Cancellation: it is shielded until then, since gatherings that are cancelled have an end.
        """
        with self._scope:
            interval = self.interval
            while True:
                began = trio.current_time()
                await self.say_so()
                await trio.sleep_until(began + interval)

    async def say_so(self) -> bool:
        """Say once that we live, and what we are; return whether that was taken.

        That it can't be said is logged.

        Cancellation: it may have been said.
        """
        async with self._turn:
            try:
                is_taken = await self._beat()
            except StoreUnavailable as error:
                if self._trouble is None:
                    _log.warning("this node can't say that it lives", extra={"why": str(error)})
                self._trouble = error
                return False
            if self._trouble is not None:
                _log.warning("this node can say again that it lives")
            self._trouble = None
            return is_taken

    async def tell(self) -> None:
        """Return once the others can know what we are now.

        Raises:
            StoreUnavailable: They can't be told now.

        Cancellation: they may know it.
        """
        async with self._turn:
            while not await self._beat():
                pass

    def stop(self) -> None:
        """End `run`."""
        self._scope.cancel()

    async def _beat(self) -> bool:
        """Say that we live; return whether it was taken: False if we were declared dead."""
        store = self.store
        was_valid = store.lease.is_valid(trio.current_time())
        try:
            if store.lease.is_lost:
                self.node = evolve(self.node, id=new_node_id())
                await self.begin()
            # One that is new knows the others, too.
            with store_trouble(DeclaredDead):
                self.nodes = await store.beat(self.node)
        except DeclaredDead:
            self.deaths += 1
            _log.error("this node was silent for too long, and begins anew", extra=self.names())
            store.lease.lost()
            self.on_lost()
            return False
        now = trio.current_time()
        self.late += now - self._taken_at > 2 * self.interval
        self._taken_at = now
        self.count_beats += 1
        self.on_beat(not was_valid)
        return True

    def names(self) -> dict[str, object]:
        """Return what log records say of us."""
        return {"node": self.node.name, "node_id": self.node.id}


def new_node_id() -> str:
    """Return a fresh id for a node."""
    return secrets.token_hex(8)


def this_node() -> Node:
    """Return a new node that is named after the machine and the process."""
    name = f"{socket.gethostname()}-{os.getpid()}"
    return Node(id=new_node_id(), name=name, machine=this_machine())


@asynccontextmanager
async def open_beats(store: OwnerStore, node: Node | None) -> AsyncIterator[Beats]:
    """Be a node as long as the block lasts.

    Raises:
        StoreUnavailable: The store can't tell the others now.

    Cancellation: we are one until the block has ended.
    """
    beats = Beats(store, this_node() if node is None else node)
    await beats.begin()
    async with open_hidden_nursery() as nursery:
        nursery.start_soon(beats.run)
        try:
            yield beats
        finally:
            beats.stop()
            with (
                trio.move_on_after(LAST_WORDS, shield=True),
                suppress(StoreUnavailable),
                store_trouble(),
            ):
                await store.resign()
