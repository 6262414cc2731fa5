"""Upkeep: a way to another process is kept up, as far as that is there."""

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

PAUSE, LEAST_PAUSE = 1.0, 0.02
"""How many seconds pass until a process that is away is tried again; and where a client waits."""

Use = Callable[[], Awaitable[None]]
"""Connects and calls `Upkeep.is_connected`, and returns when the way has ended. Raises `OSError`
where there is none."""


class Away(Exception):
    """The other process isn't there, or has taken too long to take a client."""


class NotThere(Away):
    """The other process isn't there, and what becomes of the client is up to this one alone."""


@define(eq=False)
class Upkeep:
    """Whether a way is up, and who waits for that."""

    is_up: bool = False
    _wanted: trio.Event = field(factory=trio.Event)
    """Set where somebody can't wait until it's tried again."""
    _tried: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def is_connected(self) -> None:
        """Note that the way is up."""
        self.is_up = True
        self._tried.unpark_all()

    async def wait_tried(self) -> bool:
        """Return whether the way is up; if it isn't, it is tried before.

        Cancellation: nothing else changes.
        """
        if not self.is_up:
            self._wanted.set()
            await self._tried.park()
        return self.is_up

    async def wait_up(self) -> None:
        """Return once the way is up. Cancellation: nothing else changes."""
        while not await self.wait_tried():
            pass

    async def run(self, use: Use) -> None:
        """Use the way again and again, until cancelled."""
        while True:
            self._wanted = trio.Event()
            try:
                await use()
            except OSError:
                # There's nobody now.
                pass
            finally:
                self.is_up = False
                self._tried.unpark_all()
            with trio.move_on_after(PAUSE):
                # One that ends at once mustn't keep us busy.
                await trio.sleep(LEAST_PAUSE)
                await self._wanted.wait()
