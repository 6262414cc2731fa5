"""The supervisor, systemd: it is told what becomes of the server, as sd_notify(3) has it.

Without one, or with one that doesn't listen, nothing is told, and the server goes on.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping

import trio
from attrs import define

_log = logging.getLogger(__name__)

_MOST_WATCHDOG = 10**13
"""Microseconds, a hundred days: a longer interval is no watchdog."""


@define(eq=False)
class Supervisor:
    """Who has started the process, if it wants to know what becomes of it."""

    address: str | None = None
    """The socket that it listens on, as `connect` takes it; None: nobody listens."""
    watchdog: float | None = None
    """Within how many seconds it wants a sign of life; None: it wants none."""
    _status: str = ""
    _has_failed: bool = False

    def opening(self, store: str) -> None:
        """Say that the store is being opened, which takes a while after a crash or an upgrade."""
        self._tell(f"STATUS=opening {_line(store)}")

    def ready(self, status: str) -> None:
        """Say that clients may come."""
        self._status = _line(status)
        self._tell("READY=1", f"STATUS={self._status}")

    def reloading(self) -> None:
        """Say that the configuration is being read; `reloaded` must follow."""
        # By the clock on which systemd sees that this reload is the one that it has asked for.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self, trouble: str = "") -> None:
        """Say that it has been read, and what was wrong with it."""
        status = f"{self._status}; can't reload: {_line(trouble)}" if trouble else self._status
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the server ends."""
        self._tell("STOPPING=1", "STATUS=telling everybody that it stops")

    def handed_on(self, number: int) -> None:
        """Say which process is the server's from now on, and give the last sign of life before."""
        # That process's own next one comes within half an interval.
        self._tell(f"MAINPID={number}", "WATCHDOG=1")

    async def keep_alive(self) -> None:
        """Give signs of life, if they are wanted, until cancelled.

        They come from the loop that serves everybody: if it hangs, they don't come any more, and
        systemd starts the server anew. Cancellation: ends it, and nothing else.
        """
        if self.watchdog is None:
            await trio.sleep_forever()
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.watchdog / 2)

    def _tell(self, *lines: str) -> None:
        if self.address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
                # A supervisor that reads nothing must not hold up everybody.
                one.setblocking(False)
                one.connect(self.address)
                one.send("\n".join(lines).encode(errors="replace"))
        except OSError as error:
            if not self._has_failed:
                _log.warning("systemd can't be told", extra={"why": error.strerror or str(error)})
            self._has_failed = True


def find_supervisor(environment: MutableMapping[str, str] = os.environ) -> Supervisor:
    """Return who wants to know, as the environment says; what it says wrongly counts as unsaid.

    `WATCHDOG_PID` is taken out of it: a process that goes on for this one has another number.
    """
    path = environment.get("NOTIFY_SOCKET", "")
    address = None
    if path[:1] == "/":
        address = path
    elif path[:1] == "@" and len(path) > 1:
        # One without a file.
        address = "\0" + path[1:]
    owner = environment.get("WATCHDOG_PID", "")
    if owner not in ("", str(os.getpid())):
        return Supervisor(address)
    environment.pop("WATCHDOG_PID", None)
    interval = environment.get("WATCHDOG_USEC", "")
    is_number = interval.isascii() and interval.isdigit() and len(interval) < 20
    if address is None or not is_number or not 0 < int(interval) <= _MOST_WATCHDOG:
        return Supervisor(address)
    return Supervisor(address, int(interval) / 1_000_000)


def _line(text: str) -> str:
    # Another line would be another message.
    return " ".join(text.split())
