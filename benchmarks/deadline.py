"""What the idle deadline costs: per message, with 1 to 100,000 live gatherings, and in memory.

In memory, without sockets, so that a message is as cheap as it can be. A turn moves the
deadline's value once, with the clock read that the retries need as well; the scope itself is pushed
when it fires. For comparison: what pushing Trio's deadline for each message would cost, which is
the shared design at its simplest. The last column is Python's count of blocks in use before and
after as many acks, which leave nothing behind by themselves: a heap that grew with traffic would
show there. Exits with 1 if ours costs 1 % of a message or more, or 1,000 blocks are left.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from statistics import median

import trio
import trio.testing

from benchmarks.leaks import Forgetful, Sink
from benchmarks.timing import microseconds
from squire_gatherings import EndRules, Hall, Membership, open_hall
from squire_gatherings._rules.deadline import Deadline
from squire_gatherings._values.messages import Ack, Sync
from squire_gatherings._values.op import Op

ROUNDS = 7
REPEATS = 20_000
BURST = 50
OP = Op.of({"n": 1, "note": "x" * 170})


def cost(function: Callable[[], object]) -> float:
    """Return the microseconds of a call, the median of several rounds, less an empty one's."""
    rounds = [
        (microseconds(function, REPEATS), microseconds(lambda: None, REPEATS))
        for _ in range(ROUNDS)
    ]
    return median(one for one, _ in rounds) - median(empty for _, empty in rounds)


async def join(hall: Hall, count: int) -> list[Membership]:
    return [await hall.join(f"room-{number}", Sink()) for number in range(count)]


async def drive(memberships: list[Membership], messages: int, burst: int, number: int) -> float:
    """Return the microseconds of a message, when `burst` messages meet in an inbox."""
    start = time.perf_counter()
    step = 0
    for first in range(0, messages, burst):
        # They are far apart in memory, as clients are, so the caches and the heap count.
        membership = memberships[first * 7919 // burst % len(memberships)]
        for _ in range(burst):
            step += 1
            membership.deliver_nowait(Sync(f"{number}-{step}", 0, (OP,)))
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    return (time.perf_counter() - start) / messages * 1e6


async def acknowledge(memberships: list[Membership], messages: int) -> int:
    """Return by how many blocks memory in use grows with this many acks."""
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(messages):
        memberships[number * 7919 % len(memberships)].deliver_nowait(Ack(0))
        if number % BURST == 0:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    return sys.getallocatedblocks() - before


async def run(counts: list[int], messages: int) -> bool:
    bookkeeping = Deadline(EndRules(), 0.0, 0.0)

    def used() -> None:
        bookkeeping.last_processed_at = trio.current_time()

    ours = cost(used)
    moment = [trio.current_time() + 86400]
    with trio.move_on_at(moment[0]) as scope:
        await trio.lowlevel.checkpoint()

        def push() -> None:
            moment[0] += 0.001
            scope.deadline = moment[0]

        pushed = cost(push)
    print(f"reading the clock and moving the deadline's value, once a turn: {ours:.2f} us")
    print(f"pushing a Trio deadline instead, for each message: {pushed:.2f} us")
    print("gatherings  a message alone  in a burst of 50  ours, share      blocks left")
    good = True
    for count in counts:
        async with open_hall(store=Forgetful(), recent_syncs=1) as hall:
            memberships = await join(hall, count)
            gc.collect()
            gc.freeze()
            await drive(memberships, messages, 1, 0)
            alone = [await drive(memberships, messages, 1, 2 * n + 1) for n in range(ROUNDS)]
            together = [await drive(memberships, messages, BURST, 2 * n + 2) for n in range(ROUNDS)]
            left = await acknowledge(memberships, ROUNDS * messages)
            gc.unfreeze()
            share_alone = ours / median(alone)
            share = ours / BURST / median(together)
            good = good and max(share_alone, share) < 0.01 and left < 1000
            print(
                f"{count:10}  {median(alone):12.2f} us  {median(together):13.2f} us"
                f"  {share_alone:.2%}, {share:.2%}  {left}",
                flush=True,
            )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 10_000, 100_000])
    parser.add_argument("--messages", type=int, default=20_000, help="in a round")
    options = parser.parse_args()
    sys.exit(0 if trio.run(run, options.counts, options.messages) else 1)


if __name__ == "__main__":
    main()
