"""Lifecycle events over a handover: none is missing, and they come in order."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import trio
from trio.testing import MockClock

from squire_gatherings import open_hall
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.membership import Membership
from squire_gatherings._open_hall import open_successor
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.events import EventsLeft, LifecycleEvent
from squire_gatherings._values.settings import HallSettings
from tests.events.telling import check
from tests.handover.moves import PATIENCE, Move
from tests.support import Recorder

SETTINGS = HallSettings(idle_timeout=100.0, warn_before=20.0)


class Shared(MemoryStore):
    """A store that two halls have for a while, as two processes have a file."""

    async def begin_events(self) -> EventsLeft:
        self._tells_events = False
        return await super().begin_events()


class Slow:
    """Takes events after so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tried = 0
        self.events: list[LifecycleEvent] = []

    async def deliver(self, events: Sequence[LifecycleEvent]) -> int:
        self.tried += len(events)
        await trio.sleep(self.seconds)
        self.events += events
        return len(events)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def lives(*delays: float) -> tuple[Slow, dict[str, list[str]]]:
    """Move a hall while events are being delivered, which takes so long each time."""
    store, taker, client = Shared(), Slow(), Recorder()
    async with AsyncExitStack() as stack:
        opened = open_hall(store=store, settings=SETTINGS, on_event=taker)
        hall = await stack.enter_async_context(opened)
        connected: dict[Connection, Membership] = {client: await hall.join("a", client)}
        for number, seconds in enumerate(delays):
            opened = open_successor(store=store, settings=SETTINGS, on_event=taker)
            move = Move(hall, await stack.enter_async_context(opened))
            await move.tell(connected)
            taker.seconds = seconds
            await hall.open(f"opened-{number}")
            connected = await move.finish(connected)
            hall = move.after
            taker.seconds = 0.0
            assert connected
        await trio.sleep(2000)
        numbers = hall.snapshot().events
        assert numbers is not None
        assert (numbers.waiting, numbers.delivered) == (0, len(taker.events))
    return taker, check(taker.events, all_ended=True)


async def test_they_go_on_where_they_were(autojump_clock: MockClock) -> None:
    taker, kinds = await lives(0.0, 1.0, 0.0)
    # What is being delivered is waited for: nothing comes again.
    assert taker.tried == len(taker.events) == sum(map(len, kinds.values()))
    assert [kinds[one] for one in kinds if "joined_first" in kinds[one]] == [
        ["opened", "joined_first", "ending", "dispersed"]
    ]
    assert len(kinds) == 4


async def test_one_that_takes_too_long_comes_again(autojump_clock: MockClock) -> None:
    taker, kinds = await lives(PATIENCE + 1000)
    assert taker.tried > len(taker.events) == sum(map(len, kinds.values()))
    assert len(kinds) == 2
