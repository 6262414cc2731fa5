"""Observing: what operators read of a hall, a part at a time. Nothing here is activity.

Where there are many gatherings they are looked at in slices, with turns for others in between.
"""

from collections.abc import Callable, Collection
from heapq import nlargest, nsmallest
from typing import Any

import trio
from attrs import define, frozen

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.lifecycle import Lifecycle
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import lost_commits
from squire_gatherings._hall.tally import Tally
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.events import EventNumbers
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.numbers import (
    Ended,
    GatheringNumbers,
    HallNumbers,
    MemberNumbers,
    Stage,
)

SLICE = 256
"""How many gatherings, or clients of them, are looked at before others get their turn."""


KEYS: dict[str, Callable[[Room], Any]] = {
    "id": lambda room: room.id,
    "deadline": lambda room: room.deadline.at,
    "clients": lambda room: len(room.clients),
    "seq": lambda room: room.log.committed,
    "opened": lambda room: room.deadline.opened_at,
    "processed": lambda room: room.processed,
}
"""By what gatherings can be sorted, each with what says it of one."""

SORTS = tuple(KEYS)
"""What gatherings can be sorted by."""

Place = tuple[float | str, str]
"""Where a gathering is in a list: what it is sorted by, and its id."""


@frozen(kw_only=True)
class Question:
    """Which gatherings are asked for, and in which order."""

    prefix: str = ""
    """What their ids begin with."""
    stages: Collection[Stage] = (Stage.OPEN, Stage.ASLEEP, Stage.ENDING)
    min_clients: int = 0
    sort: str = "id"
    descending: bool = False
    after: Place | None = None
    """The place of the last one that isn't wanted."""
    limit: int = 100


@frozen
class Seen:
    """A gathering as it was seen."""

    stage: Stage
    numbers: GatheringNumbers


@frozen
class Survey:
    """What was asked for."""

    gatherings: tuple[Seen, ...]
    matched: int
    """How many there are in all that fit, wherever the list begins."""
    next: Place | None
    """The place of the last one, if others follow."""


@define(eq=False)
class Observer:
    """Looks at one hall."""

    _registry: Registry
    wall: Callable[[], float]
    """The hall's wall clock."""

    @property
    def tally(self) -> Tally:
        """What was counted so far."""
        return self._registry.quotas.tally

    @property
    def is_closed(self) -> bool:
        """Whether the hall is closing, or closed."""
        return self._registry.closed

    @property
    def clients(self) -> int:
        """How many clients are in gatherings."""
        return self._registry.quotas.users.total

    @property
    def opened(self) -> int:
        """How many gatherings were opened so far."""
        return self._registry.opened

    @property
    def ended(self) -> dict[str, int]:
        """How many have ended so far, by reason."""
        return {str(reason): count for reason, count in self._registry.ended.items()}

    @property
    def events(self) -> Lifecycle | None:
        """The lifecycle events and their numbers; None where nobody is told of them."""
        return self._registry.lifecycle

    @property
    def lost_logs(self) -> int:
        """In how many logs the store has lost what was acknowledged, as far as it knows."""
        return lost_commits(self._registry.store)

    @property
    def stages(self) -> dict[Stage, int]:
        """How many gatherings are how far."""
        return dict(self.tally.stages)

    def endings(self, limit: int) -> list[Ended]:
        """Return the last ends, the newest first."""
        last = self.tally.last
        return [last[-number] for number in range(1, min(limit, len(last)) + 1)]

    def gathering(self, gathering_id: str) -> Seen | None:
        """Return what can be seen of a gathering; None if it isn't in memory, or not yet."""
        check_gathering_id(gathering_id)
        incarnation = self._registry.living.get(gathering_id)
        if incarnation is None or stage_of(incarnation.room) is Stage.OPENING:
            return None
        return _seen(incarnation.room)

    async def members(
        self, gathering_id: str, *, after: int, limit: int
    ) -> tuple[MemberNumbers, ...]:
        """Return the clients of a gathering whose numbers are above `after`, in their order.

        Cancellation: nothing happened.
        """
        check_gathering_id(gathering_id)
        incarnation = self._registry.living.get(gathering_id)
        await trio.lowlevel.checkpoint()
        if incarnation is None:
            return ()
        clients = tuple(incarnation.room.clients.values())
        first: list[tuple[int, Client]] = []
        for start in range(0, len(clients), SLICE):
            some = clients[start : start + SLICE]
            first += [(one.number, one) for one in some if one.number > after]
            first = nsmallest(limit, first, key=_number)
            await trio.lowlevel.checkpoint()
        return tuple(_member(client) for _, client in first if client.attached)

    async def survey(self, question: Question) -> Survey:
        """Look at all gatherings; return those that were asked for.

        Each is as it was when it was looked at: they live on meanwhile.

        Cancellation: nothing happened.
        """
        key, after, limit = KEYS[question.sort], question.after, question.limit
        best = nlargest if question.descending else nsmallest
        wanted = set(question.stages)
        matched = 0
        chosen: list[tuple[Place, Room]] = []
        living = tuple(self._registry.living.values())
        for start in range(0, len(living), SLICE):
            for incarnation in living[start : start + SLICE]:
                room = incarnation.room
                if (stage := stage_of(room)) is Stage.OPENING or stage not in wanted:
                    continue
                if len(room.clients) < question.min_clients:
                    continue
                if not room.id.startswith(question.prefix):
                    continue
                matched += 1
                place = (key(room), room.id)
                if after is None or (place < after if question.descending else place > after):
                    chosen.append((place, room))
            # One more, to know whether others follow.
            if len(chosen) > limit + 1:
                chosen = best(limit + 1, chosen, key=_place)
            await trio.lowlevel.checkpoint()
        chosen = best(limit + 1, chosen, key=_place)
        follows = chosen[limit - 1][0] if len(chosen) > limit else None
        seen, weight = [], 0
        for _, room in chosen[:limit]:
            seen.append(_seen(room))
            weight += 1 + len(room.clients)
            if weight > SLICE:
                weight = 0
                await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        return Survey(tuple(seen), matched, follows)


def stage_of(room: Room) -> Stage:
    """Return how far the life of a gathering is."""
    if room.stage is None:
        return Stage.OPENING
    # What ends takes nothing more before its last notices begin.
    return Stage.ENDING if room.stage is Stage.OPEN and not room.accepting else room.stage


def _seen(room: Room) -> Seen:
    return Seen(stage_of(room), room.numbers())


def _place(one: tuple[Place, Room]) -> Place:
    return one[0]


def _number(one: tuple[int, Client]) -> int:
    return one[0]


def _member(client: Client) -> MemberNumbers:
    window, identity = client.window, client.identity
    try:
        backlog = client.connection.backlog
    except Exception:
        # What a broken connection is worth is found out when something is sent.
        backlog = None
    return MemberNumbers(
        number=client.number,
        user=identity.user,
        role=identity.role,
        expires_at=identity.expires_at,
        acked=window.acked,
        unacked=window.unacked,
        waiting=client.waiting,
        backlog=backlog if isinstance(backlog, int) else None,
    )


def numbers_of(registry: Registry, events: EventNumbers | None) -> HallNumbers:
    """Return the numbers of a hall and of every open gathering. As `Hall.snapshot`."""
    rooms = (one.room for one in registry.living.values())
    numbers = tuple(room.numbers() for room in rooms if room.accepting)
    return HallNumbers(
        now=trio.current_time(),
        gatherings=numbers,
        clients=sum(one.clients for one in numbers),
        opened=registry.opened,
        crashed=registry.ended[DispersalReason.CRASHED],
        dispersed={str(reason): n for reason, n in registry.ended.items()},
        refused={str(limit): n for limit, n in registry.quotas.refusals.counts.items()},
        memory=registry.quotas.budget.used,
        events=events,
    )
