"""What the limits and the budget cost: each step of a message's way by itself.

`python -m benchmarks.limits` prints nanoseconds, the median of several rounds, less an empty call.
"""

from collections.abc import Callable
from statistics import median

import trio
import trio.testing

from benchmarks.timing import microseconds
from squire_gatherings import ServerSettings, open_hall
from squire_gatherings._hall.inbox import Inbox
from squire_gatherings._hall.membership import SINGLE_COST
from squire_gatherings._hall.parts import quotas_of
from squire_gatherings._hall.room import Room
from squire_gatherings._rules.budget import Budget
from squire_gatherings._server.limits import Limits, limits_of
from squire_gatherings._server.outbox import Outbox

ROUNDS = 9
REPEATS = 100_000


def cost(function: Callable[[], object]) -> float:
    """Return the nanoseconds of a call, the median of several rounds, less an empty one's."""
    rounds = [
        (microseconds(function, REPEATS), microseconds(lambda: None, REPEATS))
        for _ in range(ROUNDS)
    ]
    return 1000 * (median(one for one, _ in rounds) - median(empty for _, empty in rounds))


def pipelined(inbox: Inbox) -> Callable[[], None]:
    """Return the work that limits add to a sync that comes while another of its client waits."""

    def count() -> None:
        inbox.cost += SINGLE_COST
        inbox.budget.inboxes += SINGLE_COST

    return count


def one_turn(room: Room) -> Callable[[], None]:
    """Return the work that limits add to a turn and its commit."""

    def count() -> None:
        room.inbox.relieve(0)
        room.count_tail()

    return count


def a_backlog(outbox: Outbox) -> Callable[[], None]:
    """Return the work that limits add to a frame that the kernel doesn't take at once."""

    def wait() -> None:
        outbox._waits(200)
        outbox._waits(0)

    return wait


def a_handshake(limits: Limits, settings: ServerSettings) -> Callable[[], None]:
    """Return the work that limits do for a connection, from the door until it has left."""

    def come_and_go() -> None:
        visitor = limits.come(settings, "192.0.2.1", nothing)
        assert visitor is not None
        limits.door.heard(visitor)
        limits.check(settings, "192.0.2.1")
        limits.door.answered(visitor)
        meter = limits.enter(settings, "192.0.2.1", 0.0, visitor)
        meter.come_in()
        meter.leave(0.0, 1000)
        limits.go(visitor)

    return come_and_go


def nothing() -> None:
    """Do nothing: nobody gives way here."""


async def main() -> None:
    async with open_hall(max_memory=10**12, max_outbound=10**12) as hall:
        await hall.submit("room", [{"n": 1}])
        room = hall._registry.living["room"].room
        budget = quotas_of(hall).budget
        async with trio.open_nursery() as nursery:
            outbox = Outbox(
                trio.testing.memory_stream_pair()[0],
                None,
                nursery,
                10**6,
                nothing,
                nothing,
                budget=budget,
            )
            unlimited = Outbox(
                outbox.stream, None, nursery, 10**6, nothing, nothing, budget=Budget()
            )
            rows = {
                "a sync behind another of its client: two additions": pipelined(room.inbox),
                "a turn and its commit, all its messages together": one_turn(room),
                "a frame that must wait, and goes out (budget off)": a_backlog(unlimited),
                "a frame that must wait, and goes out (budget on)": a_backlog(outbox),
                "a connection: door, places, meter": a_handshake(limits_of(hall), ServerSettings()),
            }
            for name, function in rows.items():
                print(f"{cost(function):8.0f} ns  {name}")
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
