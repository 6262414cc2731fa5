"""What counting for operators costs: a share of a message, a scrape, a part of the list.

Prints the processor time of a message in memory (no sockets: as cheap as one can be), that of the
lines that count it, and their ratio; then, with many idle gatherings, how long a scrape and a part
of the list take, and how long they hold the thread (processor time, too).

    python -m benchmarks.counting --count 100000
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import trio

from squire_gatherings import Connection, Op, Outgoing, Sync, open_hall
from squire_gatherings._admin.metrics.collector_pauses import CollectorPauses
from squire_gatherings._admin.metrics.exposition import Exposition, Numbers
from squire_gatherings._admin.metrics.loop_delay import LoopDelay
from squire_gatherings._hall.observing import SORTS, Question
from squire_gatherings._hall.parts import observer_of, quotas_of
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._values.endings import CloseCode

ROUNDS = 9
MESSAGES = 3200
TOGETHER = 32


class Nobody(Connection):
    """A connection that takes everything and does nothing."""

    def send(self, outgoing: Outgoing) -> None:
        """Take a message."""

    def close(self, code: CloseCode, reason: str) -> None:
        """Take the close."""


class Holder:
    """Has the quotas, as a room does."""

    quotas = Quotas()


def least(work: Callable[[], float]) -> float:
    """Return the least of several rounds: what others do on the machine only adds."""
    return min(work() for _ in range(ROUNDS))


def of_a_turn() -> float:
    """Return the microseconds of the lines that count once for each turn, commit and batch."""
    room, taken, syncs, brought, after, up_to = Holder(), 1, 1, 1, 7, 8
    start = time.process_time()
    for _ in range(100_000):
        room.quotas.tally.messages += taken
        tally = room.quotas.tally
        tally.synced += syncs
        tally.committed[up_to - after] += 1
        room.quotas.tally.forwards += brought * (up_to - after)
    return (time.process_time() - start) * 10


def of_a_message() -> float:
    """Return the microseconds of the lines that count for each sync, and each forward of it."""
    brought, turns = 0, 100_000
    start = time.process_time()
    while turns:
        brought += 1
        turns -= 1
    return (time.process_time() - start) * 10


async def message(together: int) -> float:
    """Return the microseconds of a sync that another client is forwarded."""
    async with open_hall(retry_interval=3600, retry_limit=7200) as hall:
        member = await hall.join("room", Nobody())
        await hall.join("room", Nobody())
        ops, seq, found = (Op.of({"a": 1}),), 0, []
        for _ in range(ROUNDS):
            start = time.process_time()
            for _ in range(0, MESSAGES, together):
                for _ in range(together):
                    member.deliver_nowait(Sync(f"sync-{seq}", seq, ops))
                    seq += 1
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
            found.append((time.process_time() - start) / MESSAGES * 1e6)
        return min(found)


async def cost() -> None:
    """Print what counting costs."""
    turn, each = least(of_a_turn), least(of_a_message)
    print(f"{'processor time, us':40} {'message':>8} {'counting':>8} {'share':>6}")
    for together in (1, TOGETHER):
        whole = await message(together)
        counting = each + turn / together
        text = f"messages of a turn: {together}"
        print(f"{text:40} {whole:8.2f} {counting:8.3f} {counting / whole:6.2%}")


async def held(times: list[float]) -> None:
    """Note how much processor time each turn of the scheduler takes."""
    while True:
        before = time.thread_time()
        await trio.lowlevel.checkpoint()
        times.append(time.thread_time() - before)


async def scale(count: int) -> None:
    """Print what is read of so many gatherings."""
    async with open_hall(max_gatherings=None, max_gatherings_per_user=None) as hall:
        for number in range(count):
            await hall.open(f"room-{number}")
        observer = observer_of(hall)
        numbers = Numbers(observer, quotas_of(hall), LoopDelay(), CollectorPauses(), "0")
        exposition = Exposition(numbers)
        print(f"\n{count:,} gatherings, processor ms {'':22} {'takes':>8} {'holds the thread':>18}")
        scrapes = []
        for _ in range(ROUNDS):
            start = time.thread_time()
            exposition.text()
            scrapes.append((time.thread_time() - start) * 1e3)
        print(f"{'/metrics':40} {median(scrapes):8.1f} {median(scrapes):18.1f}")
        for sort in SORTS:
            turns: list[float] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(held, turns)
                start = time.thread_time()
                survey = await observer.survey(Question(sort=sort, limit=100))
                took = (time.thread_time() - start) * 1e3
                nursery.cancel_scope.cancel()
            assert survey.matched == count
            print(f"{'100 of the list, by ' + sort:40} {took:8.1f} {max(turns) * 1e3:18.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="of idle gatherings")
    options = parser.parse_args()
    trio.run(cost)
    trio.run(scale, options.count)


if __name__ == "__main__":
    main()
