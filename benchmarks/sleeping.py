"""Gatherings that sleep: how long one takes to wake, how late it ends, and what sleep costs others.

Each gathering has a client in memory, and some ops in a file of SQLite. They're put to sleep. Then
one after the other is sent a sync, and its time is that until the answer comes, which is durable:
so it has the waking, and one commit. The same is done with those that are awake, in turns: the
difference is the waking. Last, all are put to sleep again, and end at the instants at which they
are due: their lateness is what the hall notes.

`--ops` says how many ops each has, which a waking reads and folds. Exits with 1 if 1 % of the
wakings take more than 5 ms, or one ends early.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

import trio

from squire_gatherings import Connection, Membership, Outgoing, open_hall
from squire_gatherings._collector import calm_the_collector
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import observer_of
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.messages import Sync, Synced
from squire_gatherings._values.op import Op

GOAL = 5e-3


class Waiter(Connection):
    """A client that waits for answers."""

    def __init__(self) -> None:
        self.answered = trio.Event()

    def send(self, outgoing: Outgoing) -> None:
        if isinstance(outgoing.message, Synced):
            self.answered.set()

    def close(self, code: CloseCode, reason: str) -> None:
        pass


async def ask(client: Waiter, membership: Membership, name: str) -> float:
    """Submit an op; return how long its answer takes."""
    client.answered = trio.Event()
    sync = Sync(name, 0, (Op.of({"name": name}),))
    began = time.perf_counter()
    membership.deliver_nowait(sync)
    await client.answered.wait()
    return time.perf_counter() - began


def told(what: str, times: list[float], unit: float = 1e3, name: str = "ms") -> None:
    parts = quantiles(times, n=1000)
    print(
        f"{what:34} p50 {parts[499] * unit:8.3f}  p99 {parts[989] * unit:8.3f}"
        f"  max {max(times) * unit:8.3f} {name}",
        flush=True,
    )


async def prepare(hall: Hall, count: int, ops: int) -> list[tuple[str, Waiter, Membership]]:
    found = []
    for number in range(count):
        name = f"room-{number}"
        for first in range(0, ops, 100):
            await hall.submit(name, [{"n": n} for n in range(first, min(first + 100, ops))])
        client = Waiter()
        found.append((name, client, await hall.join(name, client, tail=True)))
    return found


async def wake(hall: Hall, rooms: list[tuple[str, Waiter, Membership]]) -> bool:
    """Measure both, in turns; return whether the goal is reached."""
    awake: list[float] = []
    waking: list[float] = []
    for number, (name, client, membership) in enumerate(rooms):
        awake.append(await ask(client, membership, f"awake {number}"))
        assert await hall.evict(name)
        waking.append(await ask(client, membership, f"waking {number}"))
    told("an answer of one that is awake", awake)
    told("an answer of one that must wake", waking)
    told("the waking alone", [one - other for one, other in zip(waking, awake, strict=True)])
    return quantiles(waking, n=100)[98] <= GOAL


async def end(hall: Hall, rooms: list[tuple[str, Waiter, Membership]]) -> bool:
    """Have all end, within two seconds; return whether none was early."""
    now = time.time()
    for number, (name, _, _) in enumerate(rooms):
        assert await hall.evict(name)
        hall.change_rules(name, ends_at=now + 5 + 2 * number / len(rooms))
    await trio.sleep(5 + 2 + 1)
    assert not hall.gatherings()
    late = [one.lateness for one in observer_of(hall).endings(len(rooms))]
    told("lateness of those asleep", [one for one in late if one is not None])
    return None not in late


async def main(count: int, ops: int) -> bool:
    calm_the_collector()
    with TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'rooms.sqlite3'}"
        async with open_hall(store=store) as hall:
            rooms = await prepare(hall, count, ops)
            print(f"{count} gatherings with {ops} ops each", flush=True)
            is_quick = await wake(hall, rooms)
            return await end(hall, rooms) and is_quick


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--ops", type=int, default=100)
    options = parser.parse_args()
    sys.exit(0 if trio.run(main, options.count, options.ops) else 1)
