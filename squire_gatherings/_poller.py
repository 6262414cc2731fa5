"""The poller: one task that waits for many sockets at once.

A task that waits for each socket by itself pays for a wait, a wake-up and two system calls a
message. So one task waits for all of them: a selector of our own becomes readable, for Trio, when
any of its sockets is ready. The server reads its clients this way (`_server.sources`), and so does
each process of the load test (`_load.clients.link`). It knows nothing of what is read.
"""

import selectors
import socket
from collections.abc import Callable

import trio

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

TURN_SIZE = 64 * 1024
"""How many bytes are read before other tasks get their turn."""

FRAME_SIZE = 1024
"""How many bytes each frame counts for on top of its own, and so does each call of `Ready`."""

Ready = Callable[[int], int]
"""Is told for which events its socket is ready: `READ`, `WRITE` or both. Reads or writes once,
without waiting, and returns for how many bytes that counts. What it raises ends `Poller.run`. It
may be called once more after `forget`, since its socket may have been found ready just before."""


class Poller:
    """The task that serves many sockets. A context manager, around all watching."""

    __slots__ = ("_selector",)

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @staticmethod
    def is_possible() -> bool:
        """Whether a selector can be waited for here: those of Linux, macOS and the BSDs can."""
        return hasattr(selectors.DefaultSelector, "fileno")

    def __enter__(self) -> "Poller":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def watch(self, one: socket.socket, ready: Ready, events: int = READ) -> None:
        """Call `ready` whenever one of the events has come, until `forget`.

        Args:
            one: A non-blocking socket. If it's watched already, the new `ready` and `events`
                replace the old ones.
            ready: See `Ready`.
            events: `READ`, `WRITE` or both.
        """
        try:
            self._selector.register(one, events, ready)
        except KeyError:
            self._selector.modify(one, events, ready)

    def forget(self, one: socket.socket) -> None:
        """Watch a socket no more; later calls do nothing. Must come before it's closed."""
        if one in self._selector.get_map():
            self._selector.unregister(one)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            Exception: Whatever a `Ready` raises.

        Cancellation: ends the serving and nothing else. No socket is closed, nothing that has
        come is lost, and it can be run again.
        """
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            room = TURN_SIZE
            for key, events in self._selector.select(0):
                if room < 0:
                    await trio.lowlevel.checkpoint()
                    room = TURN_SIZE
                room -= FRAME_SIZE + key.data(events)
