"""The turnstile: of all gatherings of a hall that are due, a few at a time come to their end.

Trio fires all deadlines that have passed in one go, and then runs all tasks that this has woken
before it looks at a socket again: ten thousand that are due at one instant would keep everybody
else waiting for as long as they take. So only those that are due first have a timer (they are
*armed*): the deadline of their scope, or, of one that sleeps, a place with the task that watches
over all who do. When one has gone, the next is armed; if its time has passed, it fires
in Trio's next pass, after all others had their turn there. So nobody is late for longer than those
before him take, and Trio's heap of deadlines stays small, however many gatherings there are.

Whoever goes arms the next. Where more are due than can be armed, a task goes through them, as many
in each pass: it gives the notice of each that is at rest without waking its task, which costs as
much as all the rest, and wakes it when nobody else is due.
"""

import math
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Protocol

import outcome
import trio
from attrs import define, field
from sortedcontainers import SortedList

AT_ONCE = 8
"""The weight of those that may fire in one of Trio's passes, and how many may be reaped in one.

Others' messages wait for several passes. With a WebSocket each, 8 take one to two milliseconds. Of
8, 16, 32, 64 and 128 none ends a crowd sooner than another, but others wait the longer the more
there are (docs/performance.md).
"""

PUT_BACK = 4
"""How many that were used meanwhile are put back for each one that is armed."""


class Waiting(Protocol):
    """A gathering as it is seen here."""

    id: str
    """No other one's that is here."""
    listed_at: float | None
    """When its time comes, by the list of the turnstile, which sets it; None: it isn't there."""

    @property
    def waits(self) -> bool:
        """Whether it has nothing else to do; otherwise it says itself when it waits again."""

    @property
    def weight(self) -> int:
        """What its end costs: 1 for itself, more for its clients' notices."""

    @property
    def wakes_at(self) -> float:
        """When it is due, as things stand now."""

    def arm(self, at: float) -> None:
        """Have its wait end then."""

    def disarm(self) -> None:
        """Don't have its wait end."""


Entry = tuple[float, str, Waiting]
"""When its time comes, its id, and who it is."""

Wake = Callable[[], None]
"""Has somebody's wait end now."""


@define(eq=False)
class Turnstile:
    """Who of a hall's gatherings is due, and whose turn it is."""

    nursery: trio.Nursery | None = None
    """Has the task that goes through a crowd; without it each comes to its end by its own task."""
    part: Callable[[Waiting], Wake | None] = lambda _: None
    """Gives the notice of one that is due, if it is at rest and nobody has said anything; returns
    what wakes its task, which hasn't noticed. None if its task must do it. Doesn't wait."""
    _armed: list[Entry] = field(factory=list)
    """Those due first, in order: each before whom there is less than `AT_ONCE`."""
    _later: "SortedList[Entry]" = field(factory=SortedList)
    """All others, in order."""
    _weights: dict[Waiting, int] = field(factory=dict)
    """Of those that are armed."""
    _leaving: OrderedDict[object, trio.lowlevel.Task] = field(factory=OrderedDict)
    """Those that have given their notice and wait to be reaped, and connections that have ended
    and wait to be taken down: first come, first served."""
    _parted: OrderedDict[object, Wake] = field(factory=OrderedDict)
    """Those that have had their notice given, and haven't been woken since, in order."""
    _has_crowd: bool = False
    """Whether the task goes through a crowd."""
    _spent: int = 0
    """The weight of those that have had their turn since the task had its last one."""
    _weight: int = 0
    """Of all that are armed, or have their turn."""
    _woken: int = 0
    """How many of those that leave have been woken, and haven't run yet."""

    @property
    def knows_anybody(self) -> bool:
        """Whether anybody waits, has a turn, or waits to be reaped."""
        waiting = self._armed or self._later or self._leaving or self._parted
        return bool(waiting or self._weight or self._woken)

    # Waiting for the deadline.

    def enter(self, one: Waiting, at: float) -> float:
        """Note that it begins to wait, and is due then.

        Returns:
            When to have its wait end: infinity if it will be armed when its time comes.
        """
        if one.listed_at is not None:
            if one.listed_at <= at:
                # That's as good: it is looked at when its time comes, and put back.
                return math.inf
            self._later.remove((one.listed_at, one.id, one))
            one.listed_at = None
        if at == math.inf:
            return at
        one.listed_at = at
        entry: Entry = (at, one.id, one)
        armed = self._armed
        is_full = self._weight >= AT_ONCE or self._has_crowd
        if is_full and not (armed and entry < armed[-1]):
            self._later.add(entry)
            return math.inf
        insort(armed, entry)
        self._weigh(one)
        while len(armed) > 1 and self._weight - self._weights[armed[-1][2]] >= AT_ONCE:
            self._disarm_last()
        return at

    def hasten(self, one: Waiting, at: float) -> None:
        """Note that it is due sooner than it was."""
        if not one.waits or (one.listed_at is not None and one.listed_at <= at):
            # It is here already, or says so itself when it begins to wait.
            return
        if one in self._weights:
            self._take_out(one)
        at = self.enter(one, at)
        if at < math.inf:
            one.arm(at)

    def leave(self, one: Waiting) -> None:
        """Note that it doesn't wait any more. It may still be looked at when its time comes."""
        if one in self._weights:
            self._take_out(one)
            self.go_on()

    def forget(self, one: Waiting) -> None:
        """Note that it is gone."""
        self._parted.pop(one, None)
        if one.listed_at is not None and one not in self._weights:
            self._later.remove((one.listed_at, one.id, one))
            one.listed_at = None
        self.leave(one)

    # Having a turn.

    @contextmanager
    def turn(self, one: Waiting) -> Iterator[None]:
        """A turn of one that is due, until its clients have had their notice.

        Nothing slow is waited for within.
        """
        weight = one.weight
        self._weight += weight
        try:
            yield
        finally:
            self._weight -= weight
            self._spent += weight
            self.go_on()

    # Being reaped.

    async def wait_to_go(self, one: object) -> None:
        """Return when nobody is left who is due and hasn't given notice; those go first.

        For gatherings that have given notice, and for connections that have ended.

        No checkpoint if there's nobody. Cancellation: it isn't waited any more.
        """
        if not self.is_crowded:
            return

        def give_up(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            del self._leaving[one]
            return trio.lowlevel.Abort.SUCCEEDED

        self._leaving[one] = trio.lowlevel.current_task()
        if await trio.lowlevel.wait_task_rescheduled(give_up):
            return
        self._woken -= 1
        self.go_on()

    def hurry(self, one: Waiting) -> None:
        """Have it go now, if it waits to be reaped: somebody waits for that."""
        wake = self._parted.pop(one, None)
        if wake is not None:
            wake()
        task = self._leaving.pop(one, None)
        if task is not None:
            trio.lowlevel.reschedule(task, outcome.Value(True))

    # What follows.

    def go_on(self) -> None:
        """Arm the next; have some go where nobody else is due."""
        if self._has_crowd:
            return
        if self.nursery is not None and self.is_crowded:
            self._has_crowd = True
            self.nursery.start_soon(self._go_through, name="gatherings that are due")
            return
        to_put_back = PUT_BACK
        while self._later and self._weight < AT_ONCE:
            entry = self._next(to_put_back)
            if entry is None:
                to_put_back -= 1
            else:
                self._arm(entry)
        if self._leaving and not self.is_crowded:
            while self._leaving and self._woken < AT_ONCE:
                _, task = self._leaving.popitem(last=False)
                self._woken += 1
                trio.lowlevel.reschedule(task)

    @property
    def is_crowded(self) -> bool:
        """Whether somebody is due who can't even be armed yet."""
        return bool(self._later) and self._later[0][0] <= trio.current_time()

    async def _go_through(self) -> None:
        """Go through all that are due, and then through those that have parted.

        Cancellation: each comes to its end by its own task from now on.
        """
        try:
            while self.is_crowded or self._parted:
                await trio.lowlevel.checkpoint()
                if self.is_crowded:
                    self._give_notices()
                else:
                    self._wake_some()
        except trio.Cancelled:
            self.nursery = None
            raise
        finally:
            self._has_crowd = False
            self.go_on()

    def _give_notices(self) -> None:
        """Have as many part as a pass may cost; arm those that must come to their end alone."""
        spent, self._spent = self._spent, 0
        to_put_back = PUT_BACK * AT_ONCE
        while self.is_crowded and spent + self._weight < AT_ONCE and to_put_back:
            entry = self._next(to_put_back)
            if entry is None:
                to_put_back -= 1
                continue
            _, _, one = entry
            weight = one.weight
            wake = self.part(one) if weight < AT_ONCE else None
            if wake is None:
                self._arm(entry)
            else:
                one.listed_at = None
                spent += weight
                self._parted[one] = wake

    def _wake_some(self) -> None:
        """Wake as many of those that have parted as may be reaped in a pass."""
        for one in tuple(islice(self._parted, AT_ONCE)):
            self._parted.pop(one)()

    def _next(self, to_put_back: int) -> Entry | None:
        """Take the next of the list; None if that one isn't to be armed now."""
        entry = self._later.pop(0)
        at, name, one = entry
        if not one.waits:
            # It says itself when it begins to wait again.
            one.listed_at = None
            return None
        wakes_at = one.wakes_at
        if wakes_at <= at or to_put_back <= 0:
            return entry
        # It was used meanwhile.
        one.listed_at = None
        if wakes_at < math.inf:
            one.listed_at = wakes_at
            self._later.add((wakes_at, name, one))
        return None

    def _arm(self, entry: Entry) -> None:
        at, _, one = entry
        self._armed.append(entry)
        self._weigh(one)
        one.arm(at)

    def _weigh(self, one: Waiting) -> None:
        weight = self._weights[one] = one.weight
        self._weight += weight

    def _take_out(self, one: Waiting) -> None:
        assert one.listed_at is not None
        entry: Entry = (one.listed_at, one.id, one)
        one.listed_at = None
        self._weight -= self._weights.pop(one)
        del self._armed[bisect_left(self._armed, entry)]

    def _disarm_last(self) -> None:
        entry = self._armed.pop()
        one = entry[2]
        self._weight -= self._weights.pop(one)
        one.disarm()
        self._later.add(entry)
