"""Notices: what a worker tells the process that keeps it, as it would tell systemd.

A worker writes to `NOTIFY_SOCKET` as each server does (sd_notify(3)), and here it is read.
"""

import math
import socket
from contextlib import suppress

import trio
from attrs import define, field

LARGEST = 64 * 1024


@define(eq=False)
class Notices:
    """What one worker has told since it was started."""

    is_ready: bool = False
    """Whether it serves."""
    has_served: bool = False
    """Whether it has ever served, in any of its processes."""
    trouble: str = ""
    """What was wrong at its last reload."""
    heard_at: float = -math.inf
    """When it gave a sign of life last."""
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _is_reloading: bool = False
    reloads: int = 0
    """How many reloads are over."""

    async def wait_changed(self) -> None:
        """Return once something was told. Cancellation: nothing else changes."""
        await self._changed.park()

    def ended(self) -> None:
        """The process has ended: another one begins with nothing told."""
        self.is_ready = self._is_reloading = False
        self._changed.unpark_all()

    def take(self, text: str, now: float) -> None:
        """Take what a worker has told in one message."""
        said = dict(line.partition("=")[::2] for line in text.split("\n"))
        self.heard_at = now
        if "RELOADING" in said:
            self._is_reloading = True
        if "READY" in said:
            self.is_ready = self.has_served = True
            if self._is_reloading:
                self._is_reloading = False
                self.reloads += 1
                self.trouble = said.get("STATUS", "").partition("; can't reload: ")[2]
        if "STOPPING" in said:
            self.is_ready = False
        self._changed.unpark_all()


async def listen_to(notices: Notices, one: socket.socket) -> None:
    """Take all that comes on a non-blocking socket of datagrams, until cancelled."""
    while True:
        await trio.lowlevel.wait_readable(one)
        take_pending(notices, one)


def take_pending(notices: Notices, one: socket.socket) -> None:
    """Take all that has come on a non-blocking socket of datagrams. No checkpoint."""
    with suppress(BlockingIOError):
        while True:
            data = one.recv(LARGEST)
            notices.take(data.decode(errors="replace"), trio.current_time())
