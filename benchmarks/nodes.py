"""What clients wait where a gathering goes from one node to another: moves, drains, deaths, pauses.

`python -m benchmarks.nodes` runs three nodes on a PostgreSQL of their own. Each gathering has one
client, which sends a sync every so often, comes back to any node when it is closed, and sends again
what wasn't answered. It prints

- *drain*: how long a node takes to end that has 1,000 gatherings, and the longest wait of each
  gathering's syncs meanwhile, from when one was sent first to its answer;
- *move*, *moves*: the same where a node with one gathering, or 20, ends: what planned moves cost;
- *kill*, *stop*: how long after `kill -9`, or SIGSTOP, of the node that had them each of 100
  gatherings has taken a sync elsewhere, to be compared with the lease and a second.

What clients are told is checked as the nemesis does (`tests/nemesis`).
"""

import argparse
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic

import trio
from attrs import define, field

from squire_gatherings._load.clients.schedule import Schedule
from squire_gatherings._poller import Poller
from tests.nemesis.client import Client, State
from tests.nemesis.cluster import Cluster, cluster
from tests.nemesis.crowd import Crowd
from tests.nemesis.diary import Diary
from tests.nemesis.ends import Ends
from tests.nemesis.history import Append, Operation
from tests.nemesis.node import Node

LEASE = 5.0
PATIENCE = 60.0
"""Seconds for anything to come about."""
CALM = 3.0
"""Seconds of calm before something is done."""


@define(eq=False)
class Room:
    """A gathering and its client."""

    name: str
    ends: Ends
    history: list[Operation] = field(factory=list)
    notes: list[tuple[float, str]] = field(factory=list)
    client: Client | None = None

    def answers(self) -> list[Append]:
        """Return the syncs that were answered."""
        return [one for one in self.history if isinstance(one, Append)]


@define(eq=False)
class Load:
    """All rooms, and the way that their clients go."""

    nodes: Cluster
    crowd: Crowd
    rooms: list[Room] = field(factory=list)
    away: set[int] = field(factory=set)
    """The ports of nodes to which no client goes, as a proxy would see to it."""

    def addresses(self) -> list[tuple[str, int]]:
        """Return where clients may go."""
        return [one for one in self.nodes.addresses() if one[1] not in self.away]

    def add(self, count: int, every: float) -> None:
        """Have clients come to new gatherings."""
        for number in range(count):
            name = f"room-{number}"
            room = Room(name, Ends(name, 3600.0, 1.0, self.crowd.diary))
            room.client = Client(self.crowd, room, f"client {number}")
            self.rooms.append(room)
            self.crowd.schedule.at(monotonic() + every * number / count, room.client.arrive)
            self._submit(room, every, monotonic() + every * (1 + number / count))

    def _submit(self, room: Room, every: float, at: float) -> None:
        def act() -> None:
            assert room.client is not None
            room.client.submit(1)
            room.client.look(monotonic())
            self._submit(room, every, at + every)

        self.crowd.schedule.at(at, act)

    async def until(self, is_so: Callable[[Room], bool]) -> None:
        """Return once something is so of all rooms."""
        with trio.fail_after(PATIENCE):
            while not all(map(is_so, self.rooms)):  # noqa: ASYNC110 (their clients are callbacks)
                await trio.sleep(0.05)

    def waits(self, since: float) -> list[float]:
        """Return the longest wait of each room's syncs that were answered since an instant."""
        return sorted(
            max(one.returned - one.invoked for one in room.answers() if one.returned > since)
            for room in self.rooms
        )


def is_in(room: Room) -> bool:
    """Whether its client has joined."""
    return room.client is not None and room.client.state is State.IN


async def with_nodes(
    gatherings: int, every: float, measure: Callable[[Load, Node], Awaitable[str]]
) -> str:
    """Have the first of three nodes get so many gatherings, and the others come; then measure."""
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder, Poller() as poller:
        options = ["--idle-timeout", "1h", "--max-connections-per-gathering", "off"]
        async with cluster(Path(folder), 3, options, started=1) as nodes:
            load = Load(nodes, Crowd(
                poller=poller, schedule=Schedule(), diary=Diary(settle=1e9),
                choose=random.Random(1), addresses=lambda: load.addresses(),
                idle_timeout=3600.0, patience=3.0, lateness=1.0, longest_pause=0.1,
            ))  # fmt: skip
            with load.crowd.diary.fault("whatever is measured"):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(poller.run)
                    nursery.start_soon(load.crowd.schedule.run)
                    load.add(gatherings, every)
                    await load.until(is_in)
                    for node in nodes.nodes[1:]:
                        await node.start()
                    await trio.sleep(CALM)
                    before = load.waits(monotonic() - CALM)
                    found = await measure(load, nodes.nodes[0])
                    nursery.cancel_scope.cancel()
                for room in load.rooms:
                    assert room.client is not None
                    room.client.stays = False
                    room.client.cut()
            violations = load.crowd.diary.violations
            assert not violations, violations[:5]
            return f"{found}\n    in calm: {told(before)}"


async def ending(load: Load, node: Node) -> str:
    """Have a node end in order."""
    load.away.add(node.port)
    began = monotonic()
    await node.end()
    took = monotonic() - began
    await trio.sleep(1.0)
    await load.until(is_in)
    return f"ended in {took:.2f} s; the longest waits {told(load.waits(began))}"


async def killing(load: Load, node: Node) -> str:
    """`kill -9` a node."""
    began = monotonic()
    await node.kill()
    return await _elsewhere(load, began)


async def stopping(load: Load, node: Node) -> str:
    """SIGSTOP a node."""
    began = monotonic()
    node.stop()
    load.away.add(node.port)
    found = await _elsewhere(load, began)
    node.go_on()
    return found


async def _elsewhere(load: Load, began: float) -> str:
    def is_taken(room: Room) -> bool:
        return any(one.invoked > began for one in room.answers()[-1:])

    await load.until(is_taken)
    firsts = sorted(
        next(one.returned for one in room.answers() if one.invoked > began) - began
        for room in load.rooms
    )
    return f"writable elsewhere after {firsts[0]:.2f} to {firsts[-1]:.2f} s (lease {LEASE:g} s)"


def told(waits: list[float]) -> str:
    """Return percentiles of waits, in milliseconds."""
    shares = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    parts = (
        f"{name} {1000 * waits[min(len(waits) - 1, int(share * len(waits)))]:.0f}"
        for name, share in shares
    )
    return f"{', '.join(parts)} ms"


MEASURES: dict[str, tuple[int, float, Callable[[Load, Node], Awaitable[str]]]] = {
    "drain": (1000, 2.0, ending),
    "move": (1, 0.02, ending),
    "moves": (20, 0.05, ending),
    "kill": (100, 0.5, killing),
    "stop": (100, 0.5, stopping),
}


def main() -> None:
    """Measure what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*MEASURES, []], default=[])
    for name in parser.parse_args().what or MEASURES:
        gatherings, every, measure = MEASURES[name]
        found = trio.run(with_nodes, gatherings, every, measure)
        print(f"{name}, {gatherings} gatherings, a sync every {every:g} s: {found}", flush=True)


if __name__ == "__main__":
    main()
