"""The faults: what the nemesis does to nodes, to the database, and to what is between them."""

import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import trio
from attrs import define

from tests.nemesis.clocks import step
from tests.nemesis.cluster import Cluster
from tests.nemesis.diary import Diary
from tests.nemesis.node import Node, NodeFailed
from tests.nemesis.proxy import Mode


@define(eq=False)
class Nemesis:
    """Does one thing after the other, and sometimes two at once."""

    _cluster: Cluster
    _diary: Diary
    _choose: random.Random
    lease: float
    """Of the nodes, in seconds."""
    only: Sequence[str] = ()
    """The names of the faults that it does; none: all that are possible here."""

    async def run(self, seconds: float, pause: float) -> None:
        """Do things for a while, and heal all.

        Args:
            seconds: How long.
            pause: How long it does nothing between two faults, on average.

        Cancellation: leaves things as they are.
        """
        faults = self._faults()
        with trio.move_on_after(seconds) as scope:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.sleep(self._choose.expovariate(1 / pause))
                    fault = self._choose.choice(faults)
                    if self._choose.random() < 0.2:
                        nursery.start_soon(self._shielded, fault)
                    else:
                        await self._shielded(fault)
        assert scope.cancelled_caught
        self._cluster.heal()

    async def _shielded(self, fault: Callable[[], Awaitable[None]]) -> None:
        """Carry out a fault to its end, so that nothing stays broken."""
        with trio.CancelScope(shield=True):
            await fault()
        await trio.lowlevel.checkpoint_if_cancelled()

    def _faults(self) -> list[Callable[[], Awaitable[None]]]:
        possible: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self.kill,
            "pause": self.pause,
            "pause-briefly": self.pause_briefly,
            "restart": self.restart,
            "step-clock": self.step_clock,
        }
        if self._cluster.database is not None:
            possible |= {
                "cut-from-database": self.cut_from_database,
                "stall-database": self.stall_database,
                "restart-database": self.restart_database,
                "kill-database": self.kill_database,
                "visit": self.visit,
            }
        if self._cluster.network is not None:
            possible["cut-from-peers"] = self.cut_from_peers
        return [possible[name] for name in self.only or possible]

    async def kill(self) -> None:
        """`kill -9` a node, and start it again, at once or later."""
        with self._some_node("kill -9 and restart of") as node:
            if node is not None:
                await node.kill()
                await trio.sleep(self._choose.choice((0, self._choose.uniform(0, 2 * self.lease))))
                await self._start(node)

    async def _start(self, node: Node) -> None:
        """Start a node, again and again while the database is away, as its supervisor would."""
        while True:
            try:
                await node.start()
            except NodeFailed as error:
                if self._diary.is_calm(besides=1):
                    self._diary.violated(str(error))
                await trio.sleep(0.5)
            else:
                return

    async def _end(self, node: Node) -> None:
        try:
            await node.end()
        except NodeFailed as error:
            self._diary.violated(str(error))

    async def pause(self) -> None:
        """Stop a node for longer than its lease; it doesn't know when it goes on."""
        await self._pause(self.lease * self._choose.uniform(1, 2) + 0.1)

    async def pause_briefly(self) -> None:
        """Stop a node for less than its lease."""
        await self._pause(self.lease * self._choose.uniform(0.05, 0.9))

    async def _pause(self, seconds: float) -> None:
        with self._some_node(f"SIGSTOP for {seconds:.3f} s of") as node:
            if node is not None:
                node.stop()
                await trio.sleep(seconds)
                node.go_on()

    async def restart(self) -> None:
        """Have a node end in order, and start it again."""
        with self._some_node("orderly restart of") as node:
            if node is not None:
                await self._end(node)
                await self._start(node)

    async def visit(self) -> None:
        """Have one more node join, and leave in order after a while."""
        node = self._cluster.visitor
        assert node is not None
        with self._only(node.name, "the coming of one more node") as is_free:
            if not is_free:
                return
            await self._start(node)
        await trio.sleep(self._choose.uniform(1, 3 * self.lease))
        with self._only(node.name, "the going of one more node") as is_free:
            if is_free:
                await self._end(node)

    async def step_clock(self) -> None:
        """Set the wall clock of one node to another time, and back later."""
        with self._some_node("another wall clock for") as node:
            if node is not None:
                step(node.clock, self._choose.choice((-3600, -10, 10, 3600)))
                await trio.sleep(self._choose.uniform(1, 2 * self.lease))
                step(node.clock, 0)

    async def cut_from_database(self) -> None:
        """Cut one node from the database."""
        mode = self._choose.choice((Mode.STALLED, Mode.REFUSING))
        with self._some_node(f"a database that is {mode} for") as node:
            if node is not None:
                self._cluster.ways[node.name].turn(mode)
                await trio.sleep(self._choose.uniform(0.1, 2 * self.lease))
                self._cluster.ways[node.name].turn(Mode.PASSING)

    async def cut_from_peers(self) -> None:
        """Lose all packets between one node and the others."""
        with self._some_node("no network to the others for") as node:
            if node is not None:
                assert self._cluster.network is not None
                self._cluster.network.cut(node.name)
                await trio.sleep(self._choose.uniform(0.1, 3 * self.lease))
                self._cluster.network.join(node.name)

    async def stall_database(self) -> None:
        """Cut all nodes from the database, or only for a moment."""
        mode = self._choose.choice((Mode.STALLED, Mode.REFUSING))
        with self._diary.fault(f"a database that is {mode} for all"):
            ways = [way for way in self._cluster.ways.values() if way.mode is Mode.PASSING]
            for way in ways:
                way.turn(mode)
            await trio.sleep(self._choose.choice((0.05, 0.5, 1.5)) * self.lease)
            for way in ways:
                way.turn(Mode.PASSING)

    async def restart_database(self) -> None:
        """Have the database end in order, and start it again."""
        with self._only("database", "restart of the database") as is_free:
            if is_free:
                assert self._cluster.database is not None
                await self._cluster.database.end()
                await self._cluster.database.start()

    async def kill_database(self) -> None:
        """`kill -9` the database, and start it again."""
        with self._only("database", "kill -9 of the database") as is_free:
            if is_free:
                assert self._cluster.database is not None
                await self._cluster.database.kill()
                await self._cluster.database.start()

    @contextmanager
    def _some_node(self, what: str) -> Iterator[Node | None]:
        """Choose a node to which nothing is being done, and note what is done to it."""
        cluster = self._cluster
        free = [node for node in cluster.nodes if node.name not in cluster.busy]
        if not free:
            yield None
            return
        node = self._choose.choice(free)
        with self._alone(node.name), self._diary.fault(f"{what} {node.name}"):
            yield node

    @contextmanager
    def _only(self, name: str, what: str) -> Iterator[bool]:
        """Note what is done to a part, unless something else is being done to it."""
        if name in self._cluster.busy:
            yield False
            return
        with self._alone(name), self._diary.fault(what):
            yield True

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        self._cluster.busy.add(name)
        try:
            yield
        finally:
            self._cluster.busy.discard(name)
