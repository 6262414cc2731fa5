"""A run of the nemesis: nodes, their clients and faults, from the first join to the last check."""

import os
import random
from contextlib import ExitStack
from pathlib import Path

import trio
from attrs import define, field, frozen

from squire_gatherings._load.clients.schedule import Schedule
from squire_gatherings._poller import Poller
from tests.nemesis.cluster import Cluster, cluster, verify
from tests.nemesis.crowd import Crowd
from tests.nemesis.diary import Diary
from tests.nemesis.faults import Nemesis
from tests.nemesis.gathering import Gathering
from tests.nemesis.node import NodeFailed
from tests.nemesis.told import Told, told

BUSY = 3.0
"""With so many tasks for each processor, in the last minute, a machine has too much to do."""


def _is_overloaded() -> bool:
    return os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)


@frozen(kw_only=True)
class Plan:
    """What a run is like."""

    seed: int
    seconds: float
    """How long faults come."""
    nodes: int = 3
    store: str | None = None
    """None: in a PostgreSQL of its own."""
    has_networks: bool = False
    """Whether each node has a network of its own."""
    only: tuple[str, ...] = ()
    """The faults that come; none: all that are possible here."""
    gatherings: int = 1000
    """How many there are at a time."""
    rate: float = 500.0
    """How many syncs a second all clients send together."""
    pause: float = 3.0
    """Seconds between two faults, on average."""
    idle_timeout: float = 4.0
    lease: float = 5.0
    lateness: float = 1.0
    """Seconds that an end may be late where nothing is done to the nodes, on a busy machine."""
    patience: float = 120.0
    """Seconds after the last fault in which every gathering must have come to its end."""
    stay: tuple[float, float] = (15.0, 60.0)
    """Seconds that a gathering is used, at least and at most."""


@define
class Run:
    """One run."""

    plan: Plan
    folder: Path
    diary: Diary
    _choose: random.Random = field(init=False)
    _gatherings: list[Gathering] = field(factory=list, init=False)
    _count: int = field(default=0, init=False)
    _told: Told | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._choose = random.Random(self.plan.seed)

    async def run(self) -> None:
        """Do all of it; the diary has what was found.

        Cancellation: kills the nodes.
        """
        plan = self.plan
        options = ["--idle-timeout", f"{plan.idle_timeout}s", "--close-grace", "2s"]
        with ExitStack() as stack:
            poller = stack.enter_context(Poller())
            if not plan.has_networks and plan.store is None:
                # The receiver is reached from this network only.
                self._told, more = stack.enter_context(told(self.folder))
                options += more
            schedule = Schedule()
            async with cluster(
                self.folder, plan.nodes, options, plan.store, has_networks=plan.has_networks
            ) as nodes:
                crowd = Crowd(
                    poller=poller,
                    schedule=schedule,
                    diary=self.diary,
                    choose=random.Random(self._choose.random()),
                    addresses=nodes.addresses,
                    idle_timeout=plan.idle_timeout,
                    patience=3.0,
                    lateness=plan.lateness,
                )
                with self.diary.fault("the start of all nodes"):
                    await trio.lowlevel.checkpoint()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(poller.run)
                    nursery.start_soon(schedule.run)
                    nursery.start_soon(self._watch_the_machine)
                    nursery.start_soon(self._judge, crowd)
                    await self._load(nodes, crowd)
                    nursery.cancel_scope.cancel()
                await self._hear_all()
                await self._end(nodes)
        for wrong in self._told.wrong() if self._told else ():
            self.diary.violated(wrong)

    async def _judge(self, crowd: Crowd) -> None:
        """Judge one gathering after the other."""
        async with crowd.to_judge, crowd.finished:
            async for one in crowd.finished:
                await one.judge()
                if self._told is not None:
                    self._told.lives += one.ends.lives.values()

    async def _watch_the_machine(self) -> None:
        """Note when the machine has too much to do for anybody to be on time."""
        while True:
            await trio.sleep(1.0)
            if _is_overloaded():
                with self.diary.fault("a machine that has too much to do"):
                    while _is_overloaded():  # noqa: ASYNC110 (nobody else says when)
                        await trio.sleep(1.0)

    async def _load(self, nodes: Cluster, crowd: Crowd) -> None:
        """Have clients use gatherings while faults come; then let all come to an end."""
        plan = self.plan
        ends = trio.current_time() + plan.seconds
        choose = random.Random(self._choose.random())
        nemesis = Nemesis(nodes, self.diary, choose, plan.lease, plan.only)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_up, crowd, ends)
            await trio.sleep(2)
            await nemesis.run(plan.seconds - 2, plan.pause)
        with trio.move_on_after(plan.patience):
            for one in self._gatherings:
                await one.checked.wait()
        for one in self._gatherings:
            if not one.checked.is_set():
                self.diary.violated(f"{one.name} can't be read after all faults are over")
            one.abandon()

    async def _keep_up(self, crowd: Crowd, ends: float) -> None:
        """Begin gatherings, as many as there are to be, and others when some are over."""
        while trio.current_time() < ends:
            self._gatherings = [one for one in self._gatherings if not one.checked.is_set()]
            for _ in range(min(20, self.plan.gatherings - len(self._gatherings))):
                self._gatherings.append(self._begin(crowd, ends - trio.current_time()))
            await trio.sleep(0.1)

    def _begin(self, crowd: Crowd, left: float) -> Gathering:
        plan = self.plan
        self._count += 1
        stay = min(self._choose.uniform(*plan.stay), left)
        # About half of the time, a gathering rests.
        rate = 2 * plan.rate / plan.gatherings
        name = f"nemesis-{plan.seed}-{self._count}"
        one = Gathering(crowd, name, crowd.now() + stay, rate)
        one.begin()
        return one

    async def _hear_all(self) -> None:
        """Wait until the webhook was told what clients know."""
        with trio.move_on_after(self.plan.patience):
            while self._told is not None and not self._told.is_all_there():  # noqa: ASYNC110
                await trio.sleep(0.2)

    async def _end(self, nodes: Cluster) -> None:
        """End the nodes in order, and verify the store."""
        for node in nodes.all_nodes():
            try:
                if node.is_running:
                    await node.end()
            except NodeFailed as error:
                self.diary.violated(str(error))
            words = node.errors.read_text(errors="replace") if node.starts else ""
            if "Traceback" in words:
                self.diary.violated(f"{node.name} wrote a traceback: {node.last_words()}")
        wrong = "" if nodes.store == "memory:" else await verify(nodes.store)
        if wrong:
            self.diary.violated(f"the store isn't right: {wrong[:500]}")
