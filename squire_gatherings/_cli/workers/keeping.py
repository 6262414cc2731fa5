"""Keeping: the process of `serve --workers N` that starts the workers, and serves nobody itself."""

import logging
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import click
import trio
from attrs import define, field

from squire_gatherings._cli.signals import Terminal, stop_signals, upgrade_signals
from squire_gatherings._cli.supervisor import Supervisor
from squire_gatherings._cli.workers.crew import Crew
from squire_gatherings._cli.workers.places import admin_ports
from squire_gatherings._cluster.private import private_folder
from squire_gatherings._server.listening import listen
from squire_gatherings._stores import is_postgres, store_name

_log = logging.getLogger(__name__)

MARGIN = 2.0
"""How many seconds more than one server the workers may take to end, before they are killed."""

HANGUP = getattr(signal, "SIGHUP", None)


async def keep_workers(
    options: Mapping[str, Any],
    scheme: str,
    grace: float,
    supervisor: Supervisor,
    listeners: Sequence[socket.socket],
) -> int:
    """Serve by workers until a signal says stop; return the exit code.

    Prints one line once all of them serve, and one more for each admin port.

    Args:
        options: Those of `serve`.
        scheme: That of the URL which is printed.
        grace: How many seconds the end of a worker may take.
        supervisor: Is told what becomes of the server.
        listeners: Sockets that listen already, instead of on its host and port.

    Raises:
        CannotListen: It can't listen where it is to.
        BadSetting: There's no place for private sockets.
    """
    supervisor.opening(store_name(options["store"]))
    terminal = Terminal()
    with (
        trio.open_signal_receiver(*stop_signals(), *upgrade_signals()) as signals,
        private_folder() as folder,
        ExitStack() as stack,
    ):
        listeners = listeners or await _listen(options["host"], options["port"], "")
        for listener in listeners:
            stack.enter_context(listener)
        admin: list[list[socket.socket]] = []
        for port in admin_ports(options):
            found = [] if port is None else await _listen(options["admin_host"], port, OPERATORS)
            for listener in found:
                stack.enter_context(listener)
            admin.append(found)
        crew = Crew(folder, listeners, admin, supervisor.watchdog)
        hands_over = is_postgres(options["store"])
        keeping = _Keeping(crew, supervisor, terminal, signals, grace, hands_over)
        url = _url(scheme, listeners[0])
        lines = [f"squire_gatherings listening on {url}"]
        for one in filter(None, admin):
            where, token = _url("http", one[0]), options["admin_token_file"]
            lines.append(f"squire_gatherings admin port on {where}, token in {token}")
        return await keeping.run(f"listening on {url}", lines)


OPERATORS = " for operators"


class CannotListen(click.ClickException):
    """The address can't be listened on; says why."""


@define(eq=False)
class _Keeping:
    """The signals, and what they make of the crew."""

    crew: Crew
    supervisor: Supervisor
    terminal: Terminal
    signals: AsyncIterator[int]
    grace: float
    hands_over: bool
    """Whether a worker that ends hands over to the others what it has."""
    _renewing: trio.Lock = field(factory=trio.Lock)

    async def run(self, status: str, lines: Sequence[str]) -> int:
        """Keep the crew; return the exit code."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_when_ready, status, lines)
            nursery.start_soon(self._hear)
            await self.crew.run()
            nursery.cancel_scope.cancel()
        failure = self.crew.failure
        if failure is None:
            return 0
        if failure.code <= 0:
            raise click.ClickException(str(failure))
        return failure.code

    async def _tell_when_ready(self, status: str, lines: Sequence[str]) -> None:
        await self.crew.wait_ready()
        for line in lines:
            with suppress(OSError):
                print(line, flush=True)
        self.supervisor.ready(status)
        _log.info("all workers serve", extra={"workers": len(self.crew.admin)})
        await self.supervisor.keep_alive()

    async def _hear(self) -> None:
        is_stopping = False
        async with trio.open_nursery() as nursery:
            async for number in self.signals:
                if is_stopping:
                    # A lost terminal is reported twice: by the system, and by the shell.
                    if number != HANGUP and number not in upgrade_signals():
                        self.crew.kill()
                        shutil.rmtree(self.crew.folder, ignore_errors=True)
                        os._exit(128 + number)
                elif number == HANGUP and not self.terminal.is_lost():
                    nursery.start_soon(self._reload)
                elif number in upgrade_signals():
                    nursery.start_soon(self._renew)
                else:
                    is_stopping = True
                    _log.info("stopping", extra={"signal": signal.Signals(number).name})
                    self.supervisor.stopping()
                    for listener in self.crew.listeners:
                        listener.close()
                    self.crew.stop()
                    nursery.start_soon(self._kill_late)

    async def _reload(self) -> None:
        self.supervisor.reloading()
        self.supervisor.reloaded(await self.crew.reload())

    async def _renew(self) -> None:
        why = "workers that have files of their own can't be upgraded: restart the server"
        if self.hands_over:
            async with self._renewing:
                why = await self.crew.renew()
        if why:
            _log.error("not upgraded, and going on", extra={"why": why})
        else:
            _log.info("all workers are new", extra={"workers": len(self.crew.admin)})

    async def _kill_late(self) -> None:
        await trio.sleep(self.grace + MARGIN)
        _log.error("a worker doesn't end, and is killed")
        self.crew.kill()


async def _listen(host: str, port: int, whom: str) -> list[socket.socket]:
    try:
        return await listen(host, port)
    except (OSError, UnicodeError) as error:
        # A name that nobody can look up, as it can't be encoded, is the latter.
        reason = getattr(error, "strerror", None) or error
        raise CannotListen(f"can't listen on {host[:255]} port {port}{whom}: {reason}") from None


def _url(scheme: str, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
