"""How late gatherings disperse on a real clock: many due within a few seconds, or at one instant.

Each gathering has a client in memory, which notes when its notice comes. Lateness is that
moment minus the deadline that the gathering had. The notices themselves take time, too: the second
line shows it, where all are due within the time that their last messages took.
The garbage collector is set as `serve` sets it. Exits with 1 if the spread ones miss the targets:
99 % within 10 ms, all within 50 ms.
"""

import argparse
import gc
import sys
from statistics import quantiles

import trio
import trio.testing
from attrs import define, field

from benchmarks.leaks import Sink
from squire_gatherings import CloseCode, open_hall
from squire_gatherings._cli.gc_tuning import calm_the_collector
from squire_gatherings._values.messages import Fetch


@define(eq=False)
class Crowd:
    """The clients that haven't had their notice."""

    left: int
    gone: trio.Event = field(factory=trio.Event)

    def one_has_it(self) -> None:
        self.left -= 1
        if not self.left:
            self.gone.set()


class Watch(Sink):
    """A connection that notes when it is closed."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.closed_at = 0.0

    def close(self, code: CloseCode, reason: str) -> None:
        """Note the time."""
        self.closed_at = trio.current_time()
        self.crowd.one_has_it()


async def lateness(count: int, spread: float) -> list[float]:
    """Return how late each of `count` was, in milliseconds; all are due within `spread` seconds."""
    joining = count * 0.0002 + 1.0
    async with open_hall(idle_timeout=spread + joining) as hall:
        crowd = Crowd(count)
        watches = [Watch(crowd) for _ in range(count)]
        memberships = [await hall.join(f"room-{n}", one) for n, one in enumerate(watches)]
        start = trio.current_time()
        for number, membership in enumerate(memberships):
            # Each gathering's last message comes at its own moment of the spread.
            if spread:
                await trio.sleep_until(start + number * spread / count)
            membership.deliver_nowait(Fetch("last", 0))
        await trio.testing.wait_all_tasks_blocked()
        deadlines = [one.deadline for one in hall.snapshot().gatherings]
        assert len(deadlines) == count
        gc.collect()
        gc.freeze()
        await crowd.gone.wait()
        gc.unfreeze()
        return [
            1000 * (watch.closed_at - deadline)
            for watch, deadline in zip(watches, deadlines, strict=True)
        ]


def describe(late: list[float]) -> tuple[float, float, float]:
    cuts = quantiles(late, n=1000)
    return cuts[499], cuts[989], max(late)


async def run(count: int, spread: float) -> bool:
    late = await lateness(count, spread)
    median, most, worst = describe(late)
    assert min(late) >= 0, "one was early"
    print(
        f"{count} due within {spread:g} s: late by p50 {median:.2f} ms, p99 {most:.2f} ms,"
        f" max {worst:.2f} ms",
        flush=True,
    )
    median, _, whole = describe(await lateness(count, 0.0))
    print(
        f"{count} due as near to each other as {count} messages can be processed: late by"
        f" p50 {median:.0f} ms, max {whole:.0f} ms"
    )
    return most < 10 and worst < 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gatherings", type=int, default=10_000)
    parser.add_argument("--spread", type=float, default=10.0, help="seconds")
    options = parser.parse_args()
    calm_the_collector()
    sys.exit(0 if trio.run(run, options.gatherings, options.spread) else 1)


if __name__ == "__main__":
    main()
