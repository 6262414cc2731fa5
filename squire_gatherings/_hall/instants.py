"""Instants: looks after gatherings whose rules name an instant of the wall clock, which may be set.

Each of them has a timer on Trio's clock like any other. One task for all of them compares the two
clocks now and then, and has the timers computed anew where they have gone apart.
"""

import weakref
from collections.abc import Callable
from typing import Protocol

import trio
from attrs import define, field

LOOK_AGAIN = 30.0
"""After so many seconds the clocks are compared again."""

APART = 0.001
"""By so many seconds they may have gone apart."""

AT_ONCE = 1000
"""So many gatherings look at the clock before others get their turn."""


class Ending(Protocol):
    """A gathering that may end at an instant of the wall clock."""

    accepting: bool

    def look_again(self) -> None:
        """Compute the timer anew."""
        ...


@define(eq=False)
class Instants:
    """The gatherings of one hall whose end depends on the wall clock."""

    wall: Callable[[], float]
    nursery: trio.Nursery
    _rooms: "weakref.WeakSet[Ending]" = field(factory=weakref.WeakSet)
    _is_running: bool = False

    def add(self, room: Ending) -> None:
        """Look after a gathering, until it has ended."""
        self._rooms.add(room)
        if not self._is_running:
            self._is_running = True
            apart = self.wall() - trio.current_time()
            self.nursery.start_soon(self._run, apart, name="instants of the wall clock")

    async def _run(self, apart: float) -> None:
        """Compare the clocks, which were so far apart, while there's anybody to tell."""
        try:
            while self._rooms:
                await trio.sleep(LOOK_AGAIN)
                now = self.wall() - trio.current_time()
                was_set, apart = abs(now - apart) > APART, now if self._rooms else apart
                for number, room in enumerate(tuple(self._rooms), start=1):
                    if not room.accepting:
                        self._rooms.discard(room)
                    elif was_set:
                        room.look_again()
                    if not number % AT_ONCE:
                        await trio.lowlevel.checkpoint()
        finally:
            self._is_running = False
