"""Running: a server that `serve` has set up, from its opening until a signal says stop."""

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial

import click
import trio

from squire_gatherings._admin.audit import audit
from squire_gatherings._cli.activation import exposed
from squire_gatherings._cli.admin import open_admin_port, take_admin_port, tell
from squire_gatherings._cli.audit_log import AuditFile, by_signal, who_runs_it
from squire_gatherings._cli.nodes import node_of
from squire_gatherings._cli.reloads import Reloads, TakeOver, read_setup
from squire_gatherings._cli.setup import Current, Setup
from squire_gatherings._cli.signals import Terminal, stop_signals, upgrade_signals
from squire_gatherings._cli.supervisor import Supervisor
from squire_gatherings._cli.takeover import finish, taking_over
from squire_gatherings._cli.units import format_duration
from squire_gatherings._cli.upgrades import Upgrades
from squire_gatherings._cli.workers.joining import has_others, serve_with_others
from squire_gatherings._cli.workers.keeping import CannotListen
from squire_gatherings._cli.workers.places import store_of
from squire_gatherings._cli.workers.worker import Worker, sockets_of, wait_dismissed
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._handover.arriving import Takeover
from squire_gatherings._open_hall import open_hall, open_successor
from squire_gatherings._server import Server
from squire_gatherings._server import serve as serve_websockets
from squire_gatherings._server.serving import Serving
from squire_gatherings._stores import open_store, store_name

_log = logging.getLogger(__name__)

DRAINED_WITHIN = 10.0
"""How many seconds it may take at the end to hand everything over to other nodes."""

MARGIN = 0.25
"""An exit may take a second more than `close_grace`: so many seconds for each of its two steps."""


async def run_server(
    context: click.Context,
    setup: Setup,
    open_files: int | None,
    audit_file: AuditFile | None,
    *,
    supervisor: Supervisor,
    listeners: Sequence[socket.socket] = (),
    takeover: Takeover | None = None,
    worker: Worker | None = None,
) -> None:
    """Serve until a signal says stop, then disperse everything; a second one exits at once.

    A SIGHUP that comes of no lost terminal has it read again what it can (`reloads`), and at
    SIGUSR2 another process goes on with everything (`upgrades`). Prints one line once it listens.
    Raises `CannotListen`, `NotOurs`, and what `open_store` raises.

    Args:
        context: That of the command, which can be read again.
        setup: What its options come to.
        open_files: How many files the process may have open; None for any number.
        audit_file: What operators do is written to it, if there is one.
        supervisor: Is told what becomes of the server.
        listeners: Sockets that listen already, instead of on its host and port.
        takeover: How it goes on for another process, if it does.
        worker: Which one of several it is, if it is. Nothing is printed then.
    """
    current, terminal = Current(setup), Terminal()
    host, port = setup.options["host"], setup.options["port"]
    if worker is None:
        check_exposed(setup, listeners)
    place = 0 if worker is None else worker.number
    store_url, node = store_of(setup.options, place), node_of(setup.options, place)
    supervisor.opening(store_name(store_url))
    with trio.open_signal_receiver(*stop_signals(), *upgrade_signals()) as signals:
        async with (
            taking_over(
                takeover,
                tells_events=current.webhook is not None,
                has_admin=setup.admin is not None,
            ),
            # Once the hall is closed nobody waits for what is still queued.
            open_store(
                store_url,
                flush_timeout=MARGIN,
                shared=takeover.store if takeover else (),
            ) as opened,
            (partial(open_hall, node=node) if takeover is None else open_successor)(
                store=opened,
                settings=setup.hall,
                authenticate=current.authenticate,
                tracer=setup.tracer,
                on_event=current.webhook,
            ) as hall,
            open_hidden_nursery() as nursery,
        ):
            try:
                server: Serving = await nursery.start(
                    partial(
                        serve_websockets,
                        hall,
                        host=host,
                        port=port,
                        settings=setup.server,
                        ssl_context=current.ssl_context,
                        listeners=takeover.listeners if takeover else listeners,
                        is_paused=takeover is not None or has_others(worker, hall),
                    )
                )
            except (OSError, UnicodeError) as error:
                # A name that nobody can look up, as it can't be encoded, is the latter.
                reason = getattr(error, "strerror", None) or error
                why = f"can't listen on {host[:255]} port {port}: {reason}"
                raise CannotListen(why) from None
            reads: list[Callable[[], TakeOver]] = [
                partial(read_setup, context, open_files, current, hall, server)
            ]
            admin = None
            try:
                if takeover is not None:
                    await finish(takeover, hall, server, setup, opened, nursery)
                if setup.admin is not None and takeover is not None:
                    admin = await take_admin_port(nursery, hall, setup.admin, takeover.admin)
                elif setup.admin is not None:
                    passed = None if worker is None else sockets_of(worker.admin)
                    admin = await open_admin_port(nursery, hall, setup.admin, passed)
                router = None
                if has_others(worker, hall):
                    join = partial(serve_with_others, worker, hall, server, setup.options)
                    router = await nursery.start(join)
            except BaseException:
                # The server is there already, and nobody else would end it.
                nursery.cancel_scope.cancel()
                raise
            if admin is not None:
                reads.append(admin.read_again)
            address = _url(server, scheme_of(setup))
            if worker is None:
                with suppress(OSError):
                    print(f"squire_gatherings listening on {address}", flush=True)
            idle_timeout = format_duration(setup.hall.idle_timeout)
            extra = {"url": address, "store": opened.name, "idle_timeout": idle_timeout}
            _log.info("listening", extra=extra)
            if audit_file is not None and takeover is None:
                # Elsewhere it would be a line where nothing is wrong.
                audit("start", who_runs_it(), address, "done")
            setup.auth.log()
            if current.webhook is not None:
                receiver = current.webhook.receiver
                _log.info("lifecycle events are posted", extra={"receiver": receiver})
            if admin is not None:
                tell(admin, is_printed=worker is None)
            reopen = None if audit_file is None else audit_file.reopen
            reloading = Reloads(reads, reopen, supervisor)
            nursery.start_soon(reloading.run)
            supervisor.ready(f"listening on {address}")
            nursery.start_soon(supervisor.keep_alive)
            # Commands delete and compact what is in the file beside us.
            nursery.start_soon(hall.logs.watch)
            upgrades = Upgrades(hall, server, opened, supervisor, admin)
            nursery.start_soon(upgrades.run)
            number = await _stop(signals, terminal, reloading, upgrades, worker)
            if number is not None:
                name = signal.Signals(number).name
                _log.info("stopping", extra={"signal": name})
                supervisor.stopping()
                if audit_file is not None:
                    audit("stop", by_signal(name), address, "done")
            # systemd tells each worker by a signal what the one that keeps them tells it as well.
            nursery.start_soon(_exit_on_the_second, signals, 0 if worker is None else 1)
            if number is not None:
                # Other nodes go on with what this one has, if there are any.
                with trio.move_on_after(DRAINED_WITHIN):
                    await hall.drain()
            server.stop_accepting()
            if admin is not None:
                admin.stop()
            with trio.move_on_after(hall.settings.close_grace + MARGIN):
                await hall.close()
                await server.wait_empty()
                if router is not None:
                    await router.close()
            nursery.cancel_scope.cancel()


async def _stop(
    signals: AsyncIterator[int],
    terminal: Terminal,
    reloading: Reloads,
    upgrades: Upgrades,
    worker: Worker | None,
) -> int | None:
    """Return the signal that says stop, or None once another process goes on.

    A worker that is dismissed stops as if SIGTERM had told it.

    It sees to all signals that come before.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_done, upgrades, nursery.cancel_scope)
        if worker is not None:
            nursery.start_soon(_stop_when_dismissed, worker, nursery.cancel_scope)
        async for number in signals:
            if number == getattr(signal, "SIGHUP", None) and not terminal.is_lost():
                reloading.ask()
            elif number in upgrade_signals():
                upgrades.ask()
            else:
                nursery.cancel_scope.cancel()
                return number
    return None if upgrades.done.is_set() else signal.SIGTERM


async def _stop_when_dismissed(worker: Worker, scope: trio.CancelScope) -> None:
    await wait_dismissed(worker)
    scope.cancel()


async def _stop_when_done(upgrades: Upgrades, scope: trio.CancelScope) -> None:
    await upgrades.done.wait()
    scope.cancel()


async def _exit_on_the_second(signals: AsyncIterator[int], ignored: int) -> None:
    async for number in signals:
        # A lost terminal is reported twice: by the system, and by the shell.
        if number == getattr(signal, "SIGHUP", None):
            continue
        if not ignored:
            os._exit(128 + number)
        ignored -= 1


def check_exposed(setup: Setup, listeners: Sequence[socket.socket]) -> None:
    """Raise `CannotListen` if others may reach a socket that was passed, and nobody asks who."""
    reached = exposed(listeners)
    if reached is not None and setup.auth.authenticator is None and not setup.options["insecure"]:
        why = f"the socket that systemd passes listens on {reached}, which others may reach, and"
        raise CannotListen(f"{why} with --auth none anybody may read and write everything")


def scheme_of(setup: Setup) -> str:
    """Return what the URLs of a server begin with."""
    return "ws" if setup.certificate is None else "wss"


def _url(server: Server, scheme: str) -> str:
    host, port = server.addresses[0]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
