"""Each node numbers its events by itself: what another one has told isn't waited for."""

import trio
from trio.testing import MockClock

from squire_gatherings.testing import SharedMemory
from tests.events.telling import Taker
from tests.nodes.world import ROOM, open_node


async def test_who_joins_a_gathering_that_has_moved_is_let_in(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    told = Taker()
    async with (
        open_node(shared, "one", on_event=told) as one,
        open_node(shared, "two", on_event=told) as two,
    ):
        # The first node has told more than the second one.
        for number in range(5):
            await one.hall.open(f"room-{number}")
        await one.join()
        await trio.sleep(1.0)
        assert await one.hall.move(ROOM, two.local.node)
        with trio.fail_after(5.0):
            await two.join()
        await trio.sleep(2.0)
    assert told.kinds(ROOM).count("joined_first") == 1
    assert told.kinds(ROOM).count("dispersed") == 1
