"""The directory of nodes: an owner that has just begun is waited for, not taken for away."""

import trio
from trio.testing import MockClock

from squire_gatherings._cluster.node_directory import LEARNT_WITHIN, NodeDirectory
from squire_gatherings.testing import SharedMemory
from tests.nodes.world import ROOM, NodeUnderTest, open_node

OTHER = "saturday-night"


async def tell(node: NodeUnderTest, socket: str) -> None:
    node.local.describe(socket=socket)
    await node.local.beats.tell()


async def test_one_that_has_begun_a_moment_after_another_is_found(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        directory = NodeDirectory(one.local)
        await tell(two, "/two")
        await two.hall.open(ROOM)
        found = await directory.find(ROOM, passed=0)
        assert found is not None
        assert found.socket == "/two"
        # The nodes were asked for a moment ago.
        async with open_node(shared, "three") as three:
            await tell(three, "/three")
            await three.hall.open(OTHER)
            found = await directory.find(OTHER, passed=0)
            assert found is not None
            assert found.socket == "/three"


async def test_one_that_is_about_to_tell_where_it_is_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two") as two,
        trio.open_nursery() as nursery,
    ):
        await two.hall.open(ROOM)
        directory = NodeDirectory(one.local)
        beats = one.local.beats.count_beats

        async def ask() -> None:
            found = await directory.find(ROOM, passed=0)
            assert found is not None
            assert found.socket == "/two"

        for _ in range(100):
            nursery.start_soon(ask)
        await trio.sleep(LEARNT_WITHIN / 2)
        await tell(two, "/two")
        # They have it asked together.
        assert one.local.beats.count_beats - beats < 6


async def test_one_that_never_tells_is_waited_for_a_second(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await two.hall.open(ROOM)
        began = trio.current_time()
        found = await NodeDirectory(one.local).find(ROOM, passed=0)
        assert found is not None
        assert (found.id, found.socket) == ("two", "")
        assert LEARNT_WITHIN <= trio.current_time() - began < 2 * LEARNT_WITHIN


async def test_where_it_leaves_meanwhile_whoever_has_it_then_is_found(
    autojump_clock: MockClock,
) -> None:
    shared = SharedMemory()
    async with (
        open_node(shared, "one") as one,
        open_node(shared, "two") as two,
        trio.open_nursery() as nursery,
    ):
        await two.hall.open(ROOM)
        directory = NodeDirectory(one.local)

        async def ask() -> None:
            assert await directory.find(ROOM, passed=0) is None

        nursery.start_soon(ask)
        await trio.sleep(LEARNT_WITHIN / 4)
        await two.local.move([ROOM], one.local.node)


async def test_one_that_begins_anew_knows_the_others_at_once(autojump_clock: MockClock) -> None:
    shared = SharedMemory()
    async with open_node(shared, "one") as one, open_node(shared, "two") as two:
        await tell(two, "/two")
        one.pause()
        await trio.sleep(2 * shared.lease)
        one.heal()
        while one.local.node.id == "one":  # noqa: ASYNC110
            await trio.sleep(0.01)
        assert "/two" in [node.socket for node in one.local.nodes]
