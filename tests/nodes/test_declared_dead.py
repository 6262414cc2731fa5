"""A node that was declared dead, in the moment before it begins anew."""

import trio
from trio.testing import MockClock

from squire_gatherings.testing import SharedMemory
from tests.nodes.world import open_node


async def test_one_that_is_asked_to_end_then_ends(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two"):
        await one.join()
        one.cut()
        await trio.sleep(8.0)
        one.heal()
        while not one.local.beats.deaths:  # noqa: ASYNC110 (nothing says so, and that's quick)
            await trio.sleep(0.01)
        assert one.store.inner.lease.is_lost  # type: ignore[attr-defined]
        # What waits for its next beat waits no longer, and no less, than before.
        assert one.local.beats.interval == 1.0
        with trio.fail_after(10.0):
            await one.hall.drain()
