"""Upgrades: a server starts its program anew, and leaves all to the new process.

The new process is started as this one was: with the same arguments, environment and folder. So
it's of another version where another one has been installed meanwhile.
"""

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from squire_gatherings._admin.audit import audit
from squire_gatherings._cli.audit_log import by_signal
from squire_gatherings._cli.environment import TAKE_OVER
from squire_gatherings._cli.supervisor import Supervisor
from squire_gatherings._collector import uncollected
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.store import Store
from squire_gatherings._handover.channel import Channel
from squire_gatherings._handover.leaving import CalledOff, Leaving, Patience
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._server.serving import Serving

if TYPE_CHECKING:
    from squire_gatherings.admin import Admin

_log = logging.getLogger(__name__)

LESS_URGENT = 10
"""How much less urgent (see nice(2)) the process is that has left all to another one."""

UNDER_WAY, FAILED = "upgrading", "failed:"
"""What is said of an upgrade in the lock's file, after its number."""


@define(eq=False)
class Upgrades:
    """The upgrades of one server: at most one at a time, and the last is one that succeeds."""

    hall: Hall
    server: Serving
    store: Store
    supervisor: Supervisor = field(factory=Supervisor)
    """Is told which process goes on."""
    admin: "Admin | None" = None
    """The admin port, which goes along."""
    patience: Patience = field(factory=Patience)
    done: trio.Event = field(factory=trio.Event)
    """Set once another process goes on."""
    _wanted: trio.Event = field(factory=trio.Event)
    _count: int = 0

    def ask(self) -> None:
        """Begin one soon, unless one is under way."""
        self._wanted.set()

    async def run(self) -> None:
        """Upgrade when asked; return once another process goes on.

        Cancellation: an upgrade that is under way is called off.
        """
        while True:
            await self._wanted.wait()
            self._count += 1
            self._say(UNDER_WAY)
            try:
                number, connections, pause = await self._upgrade()
            except CalledOff as why:
                _log.error("not upgraded, and going on", extra={"why": str(why)})
                self._say(f"{FAILED} {why}")
                audit("upgrade", by_signal("SIGUSR2"), "", "failed")
            else:
                extra = {
                    "successor": number,
                    "connections": connections,
                    "pause": round(pause, 4),
                }
                _log.info("another process goes on", extra=extra)
                audit("upgrade", by_signal("SIGUSR2"), f"process {number}", "done")
                self.supervisor.handed_on(number)
                self.done.set()
                return
            self._wanted = trio.Event()

    def _give_way(self) -> None:
        """Let the new process come first, which has more to do, and let it answer operators."""
        if self.admin is not None:
            self.admin.leave()
        os.nice(LESS_URGENT)

    def _say(self, status: str) -> None:
        if isinstance(self.store, Shareable):
            self.store.say(f"{self._count} {status}")

    async def _upgrade(self) -> tuple[int, int, float]:
        """Start a process, and leave all to it.

        Returns:
            Its number, how many connections went along, and for how many seconds nothing was read.
        """
        store = self.store
        if self.server.router is not None:
            raise CalledOff("one of several workers can't be upgraded: restart the server")
        if not isinstance(store, Shareable) or not store.descriptors:
            raise CalledOff("a store in memory can't be handed on")
        if self.server.poller is None:
            raise CalledOff("connections can't be handed on here")
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        process: trio.Process | None = None
        try:
            with theirs:
                process = await _start(theirs)
            leaving = Leaving(
                self.hall,
                self.server,
                store,
                channel,
                self.patience,
                admin=() if self.admin is None else self.admin.listeners,
                on_left=self._give_way,
            )
            with uncollected():
                connections = await leaving.run()
            return process.pid, connections, leaving.pause
        except BaseException as error:
            code = None if process is None else await _end(process)
            if code is not None and isinstance(error, CalledOff):
                raise CalledOff(f"the new process ended with {code}: {error}") from None
            raise
        finally:
            channel.close()


async def _start(theirs: socket.socket) -> trio.Process:
    command = [sys.executable, *sys.orig_argv[1:]]
    number = theirs.fileno()
    environment = {**os.environ, TAKE_OVER: str(number)}
    try:
        return await trio.lowlevel.open_process(command, env=environment, pass_fds=[number])
    except OSError as error:
        raise CalledOff(f"no process can be started: {error.strerror}") from None


async def _end(process: trio.Process) -> str | None:
    """End a process; return how it ended by itself, if it has."""
    with trio.CancelScope(shield=True):
        with trio.move_on_after(ENDING):
            await process.wait()
        code = process.returncode
        if code is None:
            process.kill()
            await process.wait()
    if code is None:
        return None
    if code >= 0:
        return f"code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


ENDING = 0.2
"""How many seconds a process may take to end by itself that has closed the channel."""
