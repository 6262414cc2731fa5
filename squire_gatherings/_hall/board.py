"""The board: the list of gatherings as people watch it live: an order, and lines of it.

A walk over all gatherings says in which order they come; it goes in slices, with turns for others
in between. Lines are read of those few that somebody sees. Nothing here is activity.
"""

import math
from collections.abc import Callable, Iterable
from heapq import merge
from itertools import islice
from time import perf_counter
from typing import Any

import trio
from attrs import define, field, frozen

from squire_gatherings._hall.observing import KEYS, SLICE, stage_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.room import Room
from squire_gatherings._values.numbers import Stage

MOST = 10_000
"""How far down a list can be seen. Whoever looks for something further down searches for it."""

QUIET = 5.0
"""The rate of a gathering is 0 that has processed nothing for so many seconds."""

SPAN = 0.9
"""A rate is taken over so many seconds at least."""

FORGOTTEN = 120.0
"""A count of messages that is older is of no use for a rate."""


@frozen(kw_only=True)
class View:
    """Which gatherings are on a list, and in which order."""

    search: str = ""
    """What their ids contain, in whatever case."""
    stage: Stage | None = None
    """How far they are; None for any."""
    min_clients: int = 0
    sort: str = "deadline"
    """One of `SORTS`."""
    descending: bool = False


@frozen
class Order:
    """The gatherings of a view, in their order."""

    ids: tuple[str, ...]
    """The first ones, as many as were asked for."""
    matched: int
    """How many there are in all."""
    cost: float
    """How many seconds of work it was to find that out."""


@frozen
class Line:
    """What is seen of one gathering. Times are seconds of the hall's clock."""

    gathering: str
    incarnation: str
    stage: Stage
    clients: int
    rate: float
    """How many messages it has processed in a second, lately."""
    processed: int
    seq: int
    opened_at: float
    last_processed_at: float
    deadline: float
    rule: str | None
    """The rule that ends it then."""
    is_held: bool
    """Whether it is held beyond what the rules say."""


@define
class _Sample:
    """How many messages a gathering had processed at a moment, and its rate before."""

    processed: int
    at: float
    rate: float | None


@define(eq=False)
class Rates:
    """How many messages gatherings process in a second, as far as walks have seen it."""

    _samples: dict[str, _Sample] = field(factory=dict)
    """By incarnation; only of those that were busy lately."""

    def look(self, room: Room, now: float) -> None:
        """Count what a gathering has processed since it was looked at last."""
        if now - room.deadline.last_processed_at > QUIET:
            return
        sample = self._samples.get(room.incarnation)
        if sample is None or now - sample.at > FORGOTTEN:
            self._samples[room.incarnation] = _Sample(room.processed, now, None)
        elif now - sample.at >= SPAN:
            rate = (room.processed - sample.processed) / (now - sample.at)
            # What happens at random is easier to read if it jumps less.
            sample.rate = rate if sample.rate is None else (rate + sample.rate) / 2
            sample.processed, sample.at = room.processed, now

    def of(self, room: Room, now: float) -> float:
        """Return a gathering's rate; 0 where it isn't known yet."""
        if now - room.deadline.last_processed_at > QUIET:
            return 0.0
        sample = self._samples.get(room.incarnation)
        return 0.0 if sample is None else sample.rate or 0.0

    def forget(self, now: float) -> None:
        """Drop what is of no use any more."""
        old = [name for name, sample in self._samples.items() if now - sample.at > FORGOTTEN]
        for name in old:
            del self._samples[name]


@define(eq=False)
class Board:
    """The gatherings of one hall, as they are watched."""

    _registry: Registry
    _rates: Rates = field(factory=Rates)
    _walking: trio.Lock = field(factory=trio.Lock)
    """One walk at a time, however many watch."""

    async def order(self, view: View, reach: int = MOST) -> Order:
        """Walk over all gatherings; return the first ones of a view, `reach` at most.

        Cancellation: nothing happened.
        """
        async with self._walking:
            self._rates.forget(trio.current_time())
            return await self._walk(view, min(reach, MOST))

    async def _walk(self, view: View, reach: int) -> Order:
        key = self._key(view.sort)
        search, reverse = view.search.lower(), view.descending
        runs: list[list[tuple[Any, str]]] = []
        kept = matched = 0
        cost, now, look = 0.0, trio.current_time(), self._rates.look
        living = tuple(self._registry.living.values())
        for start in range(0, len(living), SLICE):
            began = perf_counter()
            run = []
            for incarnation in living[start : start + SLICE]:
                room = incarnation.room
                stage = stage_of(room)
                if stage is Stage.OPENING:
                    continue
                look(room, now)
                if view.stage is not None and stage is not view.stage:
                    continue
                if len(room.clients) < view.min_clients:
                    continue
                if search and search not in room.id.lower():
                    continue
                run.append((key(room), room.id))
            run.sort(reverse=reverse)
            runs.append(run)
            matched += len(run)
            kept += len(run)
            cost += perf_counter() - began
            await trio.lowlevel.checkpoint()
            if kept > 4 * max(reach, SLICE):
                # However many there are, only the first ones are remembered.
                first, more = await _merged(runs, reverse, reach)
                runs, kept, cost = [first], len(first), cost + more
        first, more = await _merged(runs, reverse, reach)
        return Order(tuple(name for _, name in first), matched, cost + more)

    def _key(self, sort: str) -> Callable[[Room], Any]:
        if sort == "rate":
            now = trio.current_time()
            return lambda room: self._rates.of(room, now)
        if sort == "quiet":
            # Who was used last is quiet for the shortest time.
            return lambda room: -room.deadline.last_processed_at
        return KEYS[sort]

    def lines(self, gatherings: Iterable[str]) -> list[Line]:
        """Return the lines of those of these gatherings that are in memory."""
        now = trio.current_time()
        found = (self._registry.living.get(one) for one in gatherings)
        return [
            self._line(one.room, now)
            for one in found
            if one is not None and stage_of(one.room) is not Stage.OPENING
        ]

    def _line(self, room: Room, now: float) -> Line:
        deadline = room.deadline
        at, rule = deadline.at, deadline.which
        return Line(
            gathering=room.id,
            incarnation=room.incarnation,
            stage=stage_of(room),
            clients=len(room.clients),
            rate=self._rates.of(room, now),
            processed=room.processed,
            seq=room.log.committed,
            opened_at=deadline.opened_at,
            last_processed_at=deadline.last_processed_at,
            deadline=at,
            rule=rule,
            is_held=at > min((end for _, end in deadline.ends()), default=math.inf),
        )


SORTS = (*KEYS, "quiet", "rate")
"""What a view can be sorted by."""


async def _merged(
    runs: list[list[tuple[Any, str]]], reverse: bool, reach: int
) -> tuple[list[tuple[Any, str]], float]:
    """Return the first ones of sorted runs, in order, and what that cost."""
    first: list[tuple[Any, str]] = []
    cost, ordered = 0.0, islice(merge(*runs, reverse=reverse), reach)
    while True:
        began = perf_counter()
        some = list(islice(ordered, SLICE))
        cost += perf_counter() - began
        first += some
        await trio.lowlevel.checkpoint()
        if len(some) < SLICE:
            return first, cost
