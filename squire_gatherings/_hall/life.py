"""The life of one incarnation, as the hall's lifecycle is told of it."""

from contextlib import suppress
from typing import Any

import trio
from attrs import define

from squire_gatherings._hall.lifecycle import OWED, Lifecycle
from squire_gatherings._rules.sync_ids import LookupNeeded
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.events import LOST, EventKind
from squire_gatherings._values.numbers import Ended

LifeState = tuple[int, int, int, int]
"""What a `Life` counts."""


class FirstJoin(LookupNeeded):
    """Somebody is to be let in first, and the store must know of it before."""


LONG_AGO = -1
"""Instead of an event's number: another node has told it, and numbers its events by itself."""


@define(eq=False, weakref_slot=False)
class Life:
    """Tells what happens to one incarnation. Of these calls only `opened` and `admit` wait.

    From its making to `over`, places for the events that it owes are kept.
    """

    lifecycle: Lifecycle
    gathering: str
    incarnation: str
    _told: int = 0
    """How many events it has had, but for those of the kinds `ending` and `dispersed`."""
    _owed: int = OWED
    _joined: int = 0
    """The number of the event that somebody joined first; or `LONG_AGO`."""
    _omitted: int = 0

    def __attrs_post_init__(self) -> None:
        self.lifecycle.owed += self._owed

    # Asleep. Its places are kept meanwhile.

    def state(self) -> LifeState:
        """Return what is to be remembered of it while it sleeps."""
        return self._told, self._owed, self._joined, self._omitted

    @classmethod
    def of(cls, lifecycle: Lifecycle, gathering: str, incarnation: str, state: LifeState) -> "Life":
        """Return the life of one that slept."""
        told, owed, joined, omitted = state
        if joined > lifecycle.last:
            # Another process has counted so. A node lets nobody in before the store knows of it;
            # what a process before us has left in its queue is to be told again.
            joined = LONG_AGO if lifecycle.is_shared else 0
        life = cls(lifecycle, gathering, incarnation, told, 0, joined, omitted)
        life._owed = owed
        return life

    @classmethod
    def resumed(
        cls, lifecycle: Lifecycle, gathering: str, incarnation: str, state: LifeState
    ) -> "Life":
        """Return the life of one of which another process has told so far."""
        told, owed, joined, omitted = state
        return cls(lifecycle, gathering, incarnation, told, owed, joined, omitted)

    # Awake.

    async def opened(self, seq: int) -> None:
        """It is restored, and is to be opened; the store knows it when this returns.

        Raises:
            StoreUnavailable: It can't be written now: the incarnation is told to be lost.

        Cancellation: the same.
        """
        try:
            await self.lifecycle.wait_durable(self._tell(EventKind.OPENED, {"seq": seq}))
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            self._end({"reason": LOST, "seq": seq, "lifetime": 0.0, "messages": 0})
            raise

    def check_first(self) -> None:
        """Check, before somebody is let in, that the store knows that somebody was.

        Raises:
            FirstJoin: It doesn't: call `admit` first.
            StoreUnavailable: It can't be told now.
        """
        lifecycle = self.lifecycle
        if not self._joined or self._joined > lifecycle.durable:
            if lifecycle.trouble is not None:
                raise StoreUnavailable(str(lifecycle.trouble))
            raise FirstJoin

    async def admit(self) -> None:
        """Somebody is to be let in, the first one ever; return once that is tried to be written.

        Cancellation: it is written all the same.
        """
        if not self._joined:
            self._joined = self._tell(EventKind.JOINED_FIRST, {})
        with suppress(StoreUnavailable):
            await self.lifecycle.wait_durable(self._joined)

    def emptied(self, seq: int, *, at_start: bool = False) -> None:
        """The last client has left; or, at the start, all went with the process before."""
        self._tell_if_it_fits(EventKind.EMPTIED, {"seq": seq}, at_start=at_start)

    def ending(self, rule: DispersalReason, expires_in: float | None, at_time: int | None) -> None:
        """Its clients are warned of its end, or told that it's off; as the message `ending`."""
        data = {"rule": str(rule), "expires_in": expires_in, "at_time": at_time}
        self._tell_if_it_fits(EventKind.ENDING, data)

    def dispersed(self, how: Ended) -> None:
        """It has come to an end."""
        self._end(
            {
                "reason": str(how.reason),
                "seq": how.seq,
                "lifetime": how.lifetime,
                "messages": how.processed,
                "lateness": how.lateness,
            }
        )

    def over(self) -> None:
        """Nothing more is told of it."""
        self.lifecycle.owed -= self._owed
        self._owed = 0

    def _tell(self, kind: EventKind, data: dict[str, Any]) -> int:
        mark: object
        # One that sleeps may tell something, be killed before its count is noted, and go on: so
        # the count alone would give one event the id of another.
        if kind is EventKind.ENDING:
            mark = f"ending-{self.lifecycle.last + 1}"
        elif kind is EventKind.DISPERSED:
            mark = "dispersed"
        else:
            mark = self._told = self._told + 1
        self._owed -= 1
        self.lifecycle.owed -= 1
        return self.lifecycle.put(self.gathering, self.incarnation, mark, kind, data)

    def _tell_if_it_fits(
        self, kind: EventKind, data: dict[str, Any], *, at_start: bool = False
    ) -> None:
        if not self.lifecycle.has_place(at_start=at_start):
            # It may have been told before, by a process that was killed before that was noted.
            self._told += kind is not EventKind.ENDING
            self._omitted += 1
            self.lifecycle.omitted += 1
            return
        self._owed += 1
        self.lifecycle.owed += 1
        self._tell(kind, data)

    def _end(self, data: dict[str, Any]) -> None:
        data = {"lateness": None, **data}
        if self._omitted:
            data["omitted"] = self._omitted
        self._tell(EventKind.DISPERSED, data)
        self.over()
