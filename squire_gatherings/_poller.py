"""The poller: one task that waits for many sockets at once.

A task that waits for each socket by itself pays for a wait, a wake-up and two system calls a
message. So one task waits for all of them: a selector of our own becomes readable, for Trio, when
any of its sockets is ready. The server reads its clients this way (`_server.sources`), and so does
each process of the load test (`_load.clients.link`). It knows nothing of what is read.
"""

import selectors
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice
from typing import Protocol

import trio
from attrs import frozen

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

TURN_SIZE = 64 * 1024
"""How many bytes are read before other tasks get their turn."""

FRAME_SIZE = 1024
"""How many bytes each frame counts for on top of its own, and so does each call of `Ready`."""

MUCH = 16 * 1024
"""A socket that counted for more than so many bytes comes after all others."""

LATE_TURNS = 3
"""So many turns are filled by such sockets before all others are looked at again: to look costs
0.4 us for each socket that is ready."""

HELD_AT_ONCE = 8
"""How many of those that were held back are served before other tasks get their turn."""

Ready = Callable[[int], int]
"""Is told for which events its socket is ready: `READ`, `WRITE` or both. Reads or writes once,
without waiting, and returns for how many bytes that counts. What it raises ends `Poller.run`. It
may be called once more after `forget`, since its socket may have been found ready just before."""


@frozen
class _Held:
    """A socket that is held back."""

    key: selectors.SelectorKey
    in_turn: Callable[[], None]


class Step(Protocol):
    """What is to be done around each step: all that is read before other tasks get their turn."""

    def begin(self) -> None:
        """Note that a step begins. Doesn't wait."""
        ...

    def end(self) -> None:
        """Note that it is over, perhaps not for the first time. Doesn't wait."""
        ...


class Poller:
    """The task that serves many sockets. A context manager, around all watching.

    A socket that has just brought much, whose peer isn't known yet, or that was put behind comes
    after all others. In each turn at least one of these is served: the one that has waited longest.

    A socket may be held back while there is more urgent work for this thread than to serve it.
    """

    __slots__ = ("_behind", "_calls", "_held", "_is_busy", "_is_held", "_selector", "_step")

    def __init__(
        self, step: Step | None = None, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        """Make one.

        Args:
            step: What is to be done around each step.
            is_busy: Whether there is more urgent work than to serve those that may be held back.
        """
        self._step = step or NOTHING
        self._selector = selectors.DefaultSelector()
        self._is_busy = is_busy
        self._held: dict[int, _Held] = {}
        """Those that are held back, by their descriptors, in order."""
        self._is_held = trio.Event()
        """Set while some are."""
        self._behind: dict[int, int] = {}
        """Those that come after all others, by their descriptors: when they were served last."""
        self._calls = 0

    @staticmethod
    def is_possible() -> bool:
        """Whether a selector can be waited for here: those of Linux, macOS and the BSDs can."""
        return hasattr(selectors.DefaultSelector, "fileno")

    def __enter__(self) -> "Poller":
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def watch(
        self, one: socket.socket, ready: Ready, events: int = READ, *, is_known: bool = True
    ) -> None:
        """Call `ready` whenever one of the events has come, until `forget`.

        Args:
            one: A non-blocking socket. If it's watched already, the new arguments replace the old
                ones.
            ready: See `Ready`.
            events: `READ`, `WRITE` or both.
            is_known: Whether its peer is known. All who are come before those who aren't.
        """
        if self._held:
            self._held.pop(one.fileno(), None)
        try:
            self._selector.register(one, events, (ready, is_known))
        except KeyError:
            self._selector.modify(one, events, (ready, is_known))
        if not is_known:
            self._behind.setdefault(one.fileno(), self._calls)

    def put_behind(self, one: socket.socket, in_turn: Callable[[], None]) -> None:
        """Have all others served before this socket is, which is watched, the next time.

        Args:
            one: Is held back, too, while there is more urgent work.
            in_turn: Called when it isn't, or not any more.
        """
        self._behind.setdefault(one.fileno(), self._calls)
        if not self._is_busy():
            in_turn()
            return
        self._held[one.fileno()] = _Held(self._selector.unregister(one), in_turn)
        self._is_held.set()

    async def serve_held(self, until_quiet: Callable[[], Awaitable[None]]) -> None:
        """Serve those that are held back when there's nothing more urgent, until cancelled.

        Args:
            until_quiet: Returns when there isn't.

        Cancellation: as for `run`.
        """
        while True:
            await self._is_held.wait()
            await until_quiet()
            self._step.begin()
            try:
                self._serve_some_held()
            finally:
                self._step.end()
            await trio.lowlevel.checkpoint()

    def _serve_some_held(self) -> None:
        """Serve some of those that are held back, and watch them again."""
        for fd, held in tuple(islice(self._held.items(), HELD_AT_ONCE)):
            if fd not in self._held:
                # It was forgotten meanwhile.
                continue
            held.in_turn()
            # What it waits for has come already, mostly: then it is forgotten here.
            held.key.data[0](READ)
            if self._held.pop(fd, None) is not None:
                self._selector.register(held.key.fileobj, held.key.events, held.key.data)
        if not self._held:
            self._is_held = trio.Event()

    def forget(self, one: socket.socket) -> None:
        """Watch a socket no more; later calls do nothing. Must come before it's closed."""
        if self._held and one.fileno() in self._held:
            del self._held[one.fileno()]
            return
        with suppress(KeyError):
            self._selector.unregister(one)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            Exception: Whatever a `Ready` raises.

        Cancellation: ends the serving and nothing else. No socket is closed, nothing that has
        come is lost, and it can be run again.
        """
        select = self._selector.select
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            self._step.begin()
            try:
                await self._serve_all(select(0))
            finally:
                self._step.end()

    async def _serve_all(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Serve those who are ready, in steps; a checkpoint only between two of them."""
        behind, room = self._behind, TURN_SIZE
        late: list[tuple[selectors.SelectorKey, int]] = []
        if behind:
            late = [one for one in ready if one[0].fd in behind]
            late.sort(key=self._served_last, reverse=True)
        for key, events in ready:
            if key.fd in behind:
                continue
            if room < 0:
                if late:
                    self._serve(*late.pop())
                await self._next_step()
                room = TURN_SIZE
            room -= self._serve(key, events)
        # At least one of these is served. The rest is found again, after all others.
        turns = LATE_TURNS
        while late:
            room -= self._serve(*late.pop())
            if room < 0:
                turns -= 1
                if not turns:
                    break
                await self._next_step()
                room = TURN_SIZE

    async def _next_step(self) -> None:
        """Let other tasks have their turn."""
        self._step.end()
        await trio.lowlevel.checkpoint()
        self._step.begin()

    def _served_last(self, one: tuple[selectors.SelectorKey, int]) -> int:
        return self._behind[one[0].fd]

    def _serve(self, key: selectors.SelectorKey, events: int) -> int:
        ready, is_known = key.data
        cost: int = FRAME_SIZE + ready(events)
        if cost > MUCH or not is_known:
            self._calls += 1
            self._behind[key.fd] = self._calls
        elif self._behind:
            self._behind.pop(key.fd, None)
        return cost


class _Nothing:
    """Stands in where nothing is to be done around a step."""

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass


NOTHING = _Nothing()
