"""The crew: the workers of one server, of which each that ends by itself is started again."""

import logging
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import trio
from attrs import define, field, frozen

from squire_gatherings._cli.workers.notices import Notices, listen_to, take_pending
from squire_gatherings._cli.workers.worker import Worker

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""How many seconds pass until a worker is started again that has ended."""

LONG_LIFE = 60.0
"""A worker that has lived for so many seconds is started again after the first pause."""

MOST_RELOADING = 60.0
"""How many seconds a reload may take until nobody waits for it."""

MOST_RENEWING = 120.0
"""How many seconds one worker may take to end and to serve again, when all are renewed."""

LOOKS = 4
"""How often the watchdog looks, in the time within which a worker must give a sign of life."""


@frozen
class Failure:
    """A worker that ended before it served; it has said why itself, if it could."""

    number: int
    code: int
    """Its exit code, or a signal's number, negative."""

    def __str__(self) -> str:
        return f"worker {self.number} ended at its start with {_how(self.code)}"


@define(eq=False)
class _Place:
    """One worker: the process that it is now, and what that has told."""

    number: int
    notices: Notices = field(factory=Notices)
    process: trio.Process | None = None
    lifeline: socket.socket | None = None
    """The process ends in order when this is shut down."""
    notify: socket.socket | None = None
    """On which it tells something."""
    starts: int = 0
    """How many processes were started for it."""
    is_renewed: bool = False
    """Whether its process is to end, and another one to begin at once."""
    waiting: trio.CancelScope = field(factory=trio.CancelScope)
    """Around the pause until it's started again."""


@define(eq=False)
class Crew:
    """The workers of one server."""

    folder: str
    """For their private sockets: nobody else may look into it."""
    listeners: Sequence[socket.socket]
    """On which all of them listen."""
    admin: Sequence[Sequence[socket.socket]]
    """By worker: on which its admin port listens."""
    watchdog: float | None = None
    """A worker that gives no sign of life for so many seconds is ended."""
    command: Sequence[str] = field(factory=lambda: [sys.executable, *sys.orig_argv[1:]])
    """What starts a worker: the program itself, as this process was started."""
    failure: Failure | None = field(default=None, init=False)
    """Why it has ended by itself, if it has."""
    _places: list[_Place] = field(init=False)
    _is_stopping: bool = False

    def __attrs_post_init__(self) -> None:
        self._places = [_Place(number) for number in range(len(self.admin))]

    async def run(self) -> None:
        """Keep the workers running until `stop`, and all of them have ended.

        Where one ends before it has ever served, all do, and `failure` says so.

        Raises:
            OSError: No process can be started.

        Cancellation: they are killed.
        """
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as keepers:
                for place in self._places:
                    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    one.setblocking(False)
                    one.bind(self._notify(place.number))
                    place.notify = one
                    nursery.start_soon(self._listen, place, one)
                    if self.watchdog is not None:
                        nursery.start_soon(self._watch, place, self.watchdog)
                    keepers.start_soon(self._keep, place)
            nursery.cancel_scope.cancel()

    async def wait_ready(self) -> None:
        """Return once all of them serve. Cancellation: nothing else changes."""
        for place in self._places:
            while not place.notices.is_ready:
                await place.notices.wait_changed()

    async def reload(self) -> str:
        """Have all of them read again what they can; return what was wrong, once they have."""
        before = [place.notices.reloads for place in self._places]
        self.send(signal.SIGHUP)
        with trio.move_on_after(MOST_RELOADING):
            for place, count in zip(self._places, before, strict=True):
                notices = place.notices
                while notices.is_ready and notices.reloads == count:
                    await notices.wait_changed()
        troubles = {place.notices.trouble: None for place in self._places}
        return "; ".join(filter(None, troubles))

    async def renew(self) -> str:
        """End one after the other in order, and start it anew; return what went wrong.

        The next one isn't ended before the last one serves again.

        Cancellation: the others stay as they are.
        """
        for place in self._places:
            lifeline, before = place.lifeline, place.starts
            if self._is_stopping or lifeline is None or not place.notices.is_ready:
                return f"worker {place.number} doesn't serve"
            place.is_renewed = True
            lifeline.shutdown(socket.SHUT_RDWR)
            with trio.move_on_after(MOST_RENEWING) as scope:
                while place.starts == before or not place.notices.is_ready:
                    await place.notices.wait_changed()
            if scope.cancelled_caught:
                return f"worker {place.number} doesn't serve again after {MOST_RENEWING:g} s"
        return ""

    def stop(self) -> None:
        """Have all of them end in order, and start none again.

        No signal tells them so: systemd sends one to each process of a server, and a second one
        would have them end at once.
        """
        self._is_stopping = True
        for place in self._places:
            place.waiting.cancel()
            if place.lifeline is not None:
                place.lifeline.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """End them at once."""
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send all of them a signal."""
        for place in self._places:
            if place.process is not None:
                with suppress(ProcessLookupError):
                    place.process.send_signal(number)

    def _notify(self, number: int) -> str:
        return f"{self.folder}/notify-{number}"

    async def _listen(self, place: _Place, one: socket.socket) -> None:
        with one:
            await listen_to(place.notices, one)

    async def _keep(self, place: _Place) -> None:
        pause = FIRST_PAUSE
        while not self._is_stopping:
            began = trio.current_time()
            code = await self._serve(place)
            if self._is_stopping:
                return
            if place.is_renewed:
                place.is_renewed = False
                continue
            if not place.notices.has_served:
                self.failure = Failure(place.number, code)
                self.stop()
                return
            if trio.current_time() - began >= LONG_LIFE:
                pause = FIRST_PAUSE
            told = {"worker": place.number, "how": _how(code), "pause": pause}
            _log.error("a worker ended, and is started again", extra=told)
            with trio.CancelScope() as place.waiting:
                await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _serve(self, place: _Place) -> int:
        """Be one process of a worker, until it ends; return its code."""
        # It ends when nobody has the other end of this.
        ours, theirs = socket.socketpair()
        with ours:
            place.lifeline = ours
            place.starts += 1
            with theirs:
                process = await self._start(place.number, theirs)
            try:
                place.process = process
                return await process.wait()
            finally:
                # It may have told something in the end that nobody has read yet.
                if place.notify is not None:
                    take_pending(place.notices, place.notify)
                place.process = place.lifeline = None
                place.notices.ended()
                if process.returncode is None:
                    process.kill()
                    with trio.CancelScope(shield=True):
                        await process.wait()

    async def _start(self, number: int, lifeline: socket.socket) -> trio.Process:
        worker = Worker(
            number=number,
            workers=len(self._places),
            folder=self.folder,
            listeners=[one.fileno() for one in self.listeners],
            admin=[one.fileno() for one in self.admin[number]],
            lifeline=lifeline.fileno(),
        )
        environment = {**os.environ, "NOTIFY_SOCKET": self._notify(number)}
        return await trio.lowlevel.open_process(
            self.command,
            stdin=subprocess.DEVNULL,
            env=environment | worker.to_environment(),
            pass_fds=worker.descriptors,
            # Ctrl-C in a terminal is told by us, once.
            start_new_session=True,
        )

    async def _watch(self, place: _Place, within: float) -> None:
        while True:
            await trio.sleep(within / LOOKS)
            process, notices = place.process, place.notices
            silent = trio.current_time() - notices.heard_at
            if process is not None and notices.is_ready and silent > within:
                told = {"worker": place.number, "after": round(silent, 1)}
                _log.error("a worker gives no sign of life, and is ended", extra=told)
                # As systemd does, so that it says where it hung.
                process.send_signal(signal.SIGABRT)
                notices.heard_at = math.inf


def _how(code: int) -> str:
    if code >= 0:
        return f"code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
