"""How long it takes to reach a point of a long log: its state, or the ops there.

A log of a million ops is written through the store as a hall writes it, with a snapshot after each
`snapshot_every` ops; then it is fetched at random seqs and instants. Run by
`python -m benchmarks.time_travel`; exits with 1 if a point took longer than 50 ms.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from squire_gatherings import Behaviour, Hall, LogBehaviour, Op, Stamp, Submission, open_hall
from squire_gatherings._rules.behaviour import encode_state
from squire_gatherings._rules.chain import next_head, state_digest
from squire_gatherings._stores import SqliteStore, open_sqlite_store
from squire_gatherings._values.log import Append, LoggedOp, Snapshot, SyncRecord

PROMISE = 50.0
"""The milliseconds within which any point is reached."""
EVERY = 1000
"""The number of ops between snapshots: the default."""
AT_ONCE = 100
"""The number of ops in each append."""
BEGAN = 1_700_000_000_000


class Scores:
    """A behaviour with a real state: the points of 500 players, and the number of ops."""

    serves_snapshots = True

    def __init__(self) -> None:
        self.points: dict[str, int] = {}
        self.ops = 0

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        return ops

    def fold(self, op: Op, stamp: Stamp) -> None:
        value = op.value
        player = value["player"]
        self.points[player] = self.points.get(player, 0) + value["points"]
        self.ops += 1

    def snapshot(self) -> Any:
        return {"points": self.points, "ops": self.ops}

    def restore(self, snapshot: Any) -> None:
        self.points, self.ops = snapshot["points"], snapshot["ops"]


async def fill(store: SqliteStore, room: str, behaviour: Behaviour, ops: int) -> None:
    """Write the log."""
    head, seq = b"", 0
    while seq < ops:
        first = seq + 1
        logged = []
        for seq in range(first, first + AT_ONCE):
            op = Op.of({"player": f"player-{seq % 500}", "points": seq % 7, "note": "x" * 40})
            logged.append(LoggedOp(op.json, "alice", "e", BEGAN + seq // 10))
            behaviour.fold(op, Stamp(seq, BEGAN + seq // 10, "alice"))
        syncs = (SyncRecord("5:alice:", f"s{first}", first, AT_ONCE, b"0123456789abcdef"),)
        head = next_head(head, room, first, tuple(logged), syncs)
        snapshot = None
        if not seq % EVERY:
            state = encode_state(behaviour)
            snapshot = Snapshot(seq, state, state_digest(head, state))
        await store.append(Append(room, first, tuple(logged), syncs, snapshot, head))


async def measure(
    visit: Callable[[int], Awaitable[object]], points: list[int]
) -> tuple[list[float], list[float]]:
    """Return the milliseconds that visits take, and those of the processor; both sorted."""
    times: list[float] = []
    worked: list[float] = []
    for point in points:
        began, idle = time.perf_counter(), time.process_time()
        await visit(point)
        times.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - idle) * 1000)
    return sorted(times), sorted(worked)


async def run(path: Path, ops: int, visits: int, seed: int) -> float:
    """Print what a visit takes; return the longest."""
    rng = random.Random(seed)
    longest = 0.0
    kinds: tuple[tuple[str, Callable[[], Behaviour]], ...] = (
        ("LogBehaviour", LogBehaviour),
        ("a state of 500 players", Scores),
    )
    async with open_sqlite_store(path) as store:
        for name, behaviour in kinds:
            room = behaviour.__name__ if isinstance(behaviour, type) else name
            began = time.perf_counter()
            await fill(store, room, behaviour(), ops)
            info = await store.describe(room)
            assert info is not None
            print(
                f"{name}: {ops:,} ops written in {time.perf_counter() - began:.0f} s,"
                f" {len(info.snapshots)} snapshots kept"
            )
            async with open_hall(store=store, behaviour=behaviour) as hall:
                await hall.open(room)
                longest = max(longest, await visit_all(hall, room, name, ops, visits, rng))
    return longest


async def visit_all(
    hall: Hall, room: str, name: str, ops: int, visits: int, rng: random.Random
) -> float:
    """Print what a visit to random seqs and instants takes; return the longest."""
    serves = name != "LogBehaviour"

    async def at_seq(seq: int) -> object:
        since = None if serves else max(0, seq - 100)
        return await hall.fetch(room, since=since, at=seq)

    async def at_instant(seq: int) -> object:
        at = datetime.fromtimestamp((BEGAN + seq // 10) / 1000, UTC)
        since = None if serves else max(0, seq - 100)
        return await hall.fetch(room, since=since, at=at)

    longest = 0.0
    for what, visit in (("seqs", at_seq), ("instants", at_instant)):
        times, worked = await measure(visit, [rng.randrange(10, ops) for _ in range(visits)])
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        print(
            f"  random {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {times[-1]:.1f} ms;"
            f" of the processor at most {worked[-1]:.1f} ms"
        )
        longest = max(longest, times[-1])
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=1_000_000, help="how many ops the log has")
    parser.add_argument("--visits", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rooms.sqlite3"
        longest = trio.run(run, path, options.ops, options.visits, options.seed)
    sys.exit(0 if longest <= PROMISE else 1)


if __name__ == "__main__":
    main()
