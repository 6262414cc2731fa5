"""Helpers of the tests of lifecycle events: who takes them, and what they must add up to."""

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import trio
from attrs import evolve

from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.events import EventKind, LifecycleEvent


class Taker:
    """Takes events, and remembers when; fails as often as it is told to."""

    def __init__(self) -> None:
        self.events: list[LifecycleEvent] = []
        self.times: list[float] = []
        self.failures = 0
        self.tries: list[float] = []
        self.is_dead = False

    async def __call__(self, event: LifecycleEvent) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_dead:
            await trio.sleep_forever()
        self.tries.append(trio.current_time())
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("not now")
        self.events.append(event)
        self.times.append(trio.current_time())

    def of(self, gathering: str) -> list[tuple[str, dict[str, Any]]]:
        return [(str(one.kind), one.data) for one in self.events if one.gathering == gathering]

    def kinds(self, gathering: str | None = None) -> list[str]:
        return [
            str(one.kind) for one in self.events if gathering is None or one.gathering == gathering
        ]


class Flaky(MemoryStore):
    """A store that can't write, read or forget events while it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = self.reads = self.forgets = True
        self.has_it_all_the_same = False
        self.is_dead = False
        self.seconds = 0.0
        """How long it takes to write."""
        self.dies_at: tuple[int, bool] | None = None
        """At which of the next writes it dies, and whether it has that write then."""
        self.dying: Callable[[], None] = lambda: None
        self.batches: list[int] = []

    def kill(self) -> "Flaky":
        """Do nothing any more; return what the next process finds."""
        self.is_dead = True
        left = Flaky()
        left._logs, left._tombstones = copy.deepcopy(self._logs), dict(self._tombstones)
        left._events, left._last_event = self._events.copy(), self._last_event
        left._open = dict(self._open)
        return left

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_dead:
            await trio.sleep_forever()
        if self.seconds:
            await trio.sleep(self.seconds)
        if self.dies_at is not None:
            number, has_it = self.dies_at
            self.dies_at = (number - 1, has_it) if number else None
            if not number:
                if has_it:
                    await super().write_events(events)
                self.dying()
                await trio.sleep_forever()
        if self.writes or self.has_it_all_the_same:
            self.batches.append(len(events))
            await super().write_events(events)
        if not self.writes:
            raise StoreUnavailable("no events can be written")

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        if not self.reads:
            raise StoreUnavailable("no events can be read")
        return await super().read_events(after=after, up_to=up_to, limit=limit)

    async def forget_events(self, *, up_to: int) -> None:
        if not self.forgets or self.is_dead:
            raise StoreUnavailable("no events can be forgotten")
        await super().forget_events(up_to=up_to)


def once(
    events: Iterable[LifecycleEvent], *, left_out: Collection[str] = ()
) -> list[LifecycleEvent]:
    """Return each event as it was told first; check that it was the same each time.

    That one was left alone, two processes may tell: the first was killed before it was noted.
    """
    first: dict[str, LifecycleEvent] = {}
    for event in events:
        if event.incarnation in left_out:
            continue
        known = first.setdefault(event.id, event)
        if event.kind is EventKind.EMPTIED:
            event = evolve(event, number=known.number, time=known.time)
        assert known == event, event
    return list(first.values())


def check(
    events: Iterable[LifecycleEvent], *, all_ended: bool, left_out: Collection[str] = ()
) -> dict[str, list[str]]:
    """Check that no event is missing, and that they come in order.

    Args:
        events: As they were delivered, some of them perhaps several times.
        all_ended: Whether no incarnation is open any more.
        left_out: Incarnations that aren't looked at.

    Returns:
        The kinds of the events of each incarnation.
    """
    known = list(events)
    told = once(known, left_out=left_out)
    # Every number there ever was, in order.
    numbers = list(dict.fromkeys(event.number for event in known))
    assert numbers == list(range(1, len(numbers) + 1))
    kinds: dict[str, list[str]] = defaultdict(list)
    living: dict[str, str] = {}
    for event in told:
        mine = kinds[event.incarnation]
        if event.kind is EventKind.OPENED:
            assert not mine
            assert event.gathering not in living, f"{event} begins before the last one has ended"
            living[event.gathering] = event.incarnation
        else:
            assert living.get(event.gathering) == event.incarnation, event
            if event.kind is EventKind.JOINED_FIRST:
                assert EventKind.JOINED_FIRST not in mine
            elif event.kind is EventKind.EMPTIED:
                assert EventKind.JOINED_FIRST in mine
            elif event.kind is EventKind.DISPERSED:
                del living[event.gathering]
        mine.append(event.kind)
    assert not (all_ended and living), living
    return dict(kinds)
