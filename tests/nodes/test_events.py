"""Lifecycle events of several nodes: one outbox, each event once, in order for each gathering."""

import trio
from attrs import define, field
from trio.testing import MockClock

from squire_gatherings._values.events import LifecycleEvent
from squire_gatherings.testing import SharedMemory
from tests.nodes.world import ROOM, open_node


@define(eq=False)
class Told:
    """What a receiver that all nodes share was told."""

    events: list[LifecycleEvent] = field(factory=list)
    trouble: bool = False

    async def __call__(self, event: LifecycleEvent) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble:
            raise OSError("not now")
        self.events.append(event)

    def kinds(self, gathering: str = ROOM) -> list[str]:
        """Return what was told of one gathering; of an end its reason."""
        found = [one for one in self.events if one.gathering == gathering]
        return [str(one.data.get("reason") or one.kind) for one in found]

    def ids(self) -> list[str]:
        """Return the ids of all, which must differ."""
        return [one.id for one in self.events]


async def test_one_node_delivers_what_all_tell(autojump_clock: MockClock) -> None:
    shared, told = SharedMemory(), Told()
    async with (
        open_node(shared, "one", on_event=told) as one,
        open_node(shared, "two", on_event=told) as two,
    ):
        await one.hall.submit("a", [{"n": 1}])
        await two.hall.submit("b", [{"n": 1}])
        await two.join("b")
        await trio.sleep(3.0)
        assert told.kinds("a") == ["opened"]
        assert told.kinds("b") == ["opened", "joined_first"]
        await two.hall.disperse("b")
        # It is released once the store knows of its end.
        await trio.sleep(0.1)
        await one.hall.submit("b", [{"n": 2}])
        await trio.sleep(3.0)
        assert told.kinds("b") == ["opened", "joined_first", "admin", "opened"]
    assert len(set(told.ids())) == len(told.ids())
    assert told.kinds("a") == ["opened", "shutdown"]


async def test_a_gathering_that_was_awake_on_a_dead_node_is_told_to_be_lost_once(
    autojump_clock: MockClock,
) -> None:
    shared, told = SharedMemory(), Told()
    async with open_node(shared, "two", on_event=told) as two:
        async with (
            open_node(shared, "three", on_event=told) as three,
            open_node(shared, "one", on_event=told) as one,
        ):
            await one.hall.submit(ROOM, [{"n": 1}])
            await one.hall.submit("another", [{"n": 1}])
            await one.hall.submit("asleep", [{"n": 1}])
            await one.hall.evict("asleep")
            await trio.sleep_until(2.0)
            told.trouble = True
            await one.kill()
            # Somebody asks before a beat has found the node dead.
            await trio.sleep_until(7.05)
            assert await three.hall.submit(ROOM, [{"n": 2}]) == (2,)
            await trio.sleep_until(10.0)
            told.trouble = False
            await trio.sleep_until(80.0)
            assert told.kinds() == ["opened", "lost", "opened"]
            assert told.kinds("another") == ["opened", "lost"]
            assert told.kinds("asleep") == ["opened"]
            [lost] = [event for event in told.events if event.gathering == "another"][1:]
            assert lost.data["seq"] == 1
        assert len(set(told.ids())) == len(told.ids())
        assert await two.hall.submit("another", [{"n": 2}]) == (2,)


async def test_what_the_node_that_delivers_leaves_another_one_delivers(
    autojump_clock: MockClock,
) -> None:
    shared, told = SharedMemory(), Told()
    async with open_node(shared, "two", on_event=told) as two:
        await trio.sleep(2.0)
        async with open_node(shared, "one", on_event=told) as one:
            told.trouble = True
            await one.hall.submit(ROOM, [{"n": 1}])
            await two.hall.submit("b", [{"n": 1}])
            await trio.sleep(2.0)
            await two.kill()
            told.trouble = False
            await trio.sleep(15.0)
            assert told.kinds() == ["opened"]
            assert told.kinds("b") == ["opened", "lost"]
