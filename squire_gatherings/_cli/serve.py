"""`serve`: a hall behind a WebSocket server, until a signal says stop."""

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from typing import Any

import click
import trio
from attrs import frozen

from squire_gatherings._cli.admin import (
    AdminPort,
    admin_options,
    make_admin_port,
    open_admin_port,
    open_admin_port_later,
    tell,
)
from squire_gatherings._cli.auth import Auth, auth_options, make_auth
from squire_gatherings._cli.doors import door_options, make_doors
from squire_gatherings._cli.ends import end_options
from squire_gatherings._cli.gc_tuning import calm_the_collector
from squire_gatherings._cli.limits import raise_open_files
from squire_gatherings._cli.logs import LogFormat, logs
from squire_gatherings._cli.options import (
    DURATION,
    DURATION_OR_ENDLESS,
    DURATION_OR_OFF,
    ENVIRONMENT,
    MESSAGE_SIZE,
    RATE,
    option,
)
from squire_gatherings._cli.reloads import Reloads
from squire_gatherings._cli.signals import (
    Terminal,
    ignore_signals,
    stop_signals,
    upgrade_signals,
)
from squire_gatherings._cli.units import format_duration
from squire_gatherings._cli.upgrades import TAKE_OVER, Upgrades
from squire_gatherings._hall.authentication import admit_everybody
from squire_gatherings._hall.clock import BootTimeClock
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._handover.arriving import NotOurs, Takeover, why_not
from squire_gatherings._handover.channel import Channel
from squire_gatherings._handover.sharing import Shareable
from squire_gatherings._open_hall import open_hall
from squire_gatherings._server import Server, ServerSettings
from squire_gatherings._server import serve as serve_websockets
from squire_gatherings._server.tls import Certificate
from squire_gatherings._stores import open_store
from squire_gatherings._values.settings import HallSettings

_log = logging.getLogger(__name__)

MARGIN = 0.25
"""An exit may take a second more than `close_grace`: so many seconds for each of its two steps."""


@frozen
class CannotListen(Exception):
    """The address can't be listened on; says why."""

    why: str

    def __str__(self) -> str:
        return self.why


@click.command("serve", context_settings=ENVIRONMENT)
@option("--host", default="127.0.0.1", help="Address or name to listen on.")
@option("--port", default=8765, type=click.IntRange(0, 65535), help="0 picks a free one.")
@auth_options
@option(
    "--store",
    default="sqlite:///squire_gatherings.sqlite3",
    help="Where logs last: sqlite:///PATH (four slashes: absolute), or memory: for nowhere.",
)
@option(
    "--idle-timeout",
    default="24h",
    type=DURATION_OR_ENDLESS,
    help="No message this long: it ends.",
)
@option(
    "--empty-timeout", default="off", type=DURATION_OR_OFF, help="No connection this long: it ends."
)
@end_options
@option("--close-grace", default="5s", type=DURATION, help="Time that a notice may take.")
@option("--retry-interval", default="250ms", type=DURATION, help="First repeat; doubles.")
@option("--retry-limit", default="10s", type=DURATION, help="No acknowledgement this long: closed.")
@option("--max-message-size", default="256KiB", type=MESSAGE_SIZE, help="Largest from a client.")
@option(
    "--ping-interval", default="20s", type=DURATION_OR_ENDLESS, help="Silent this long: pinged."
)
@option("--rate-limit", default="off", type=RATE, help="Messages per second and client.")
@door_options
@admin_options
@option(
    "--log-level",
    default="warning",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Least level that is logged.",
)
@option(
    "--log-format",
    default="text",
    type=click.Choice(["text", "json"]),
    help="Lines of key=value, or of JSON.",
)
@click.option("--take-over", type=int, hidden=True, envvar=TAKE_OVER)
@click.pass_obj
def serve(
    links: tuple[str, ...],
    /,
    host: str,
    port: int,
    store: str,
    idle_timeout: float,
    empty_timeout: float | None,
    close_grace: float,
    retry_interval: float,
    retry_limit: float,
    max_message_size: int,
    ping_interval: float,
    rate_limit: float | None,
    log_level: str,
    log_format: LogFormat,
    auth: str,
    insecure: bool,
    jwt_keys: tuple[str, ...],
    jwt_audience: str | None,
    jwt_issuer: str | None,
    token_cookie: str | None,
    allow_origins: tuple[str, ...],
    take_over: int | None,
    admin_port: int | None,
    admin_host: str,
    admin_token_file: str,
    admin_names: tuple[str, ...],
    admin_open_metrics: bool,
    **door_settings: Any,
) -> None:
    """Serve gatherings until SIGINT or SIGTERM, or until its terminal is lost.

    Without --auth jwt, ANYBODY WHO REACHES THE SERVER MAY READ AND WRITE EVERYTHING. So it
    then listens on this machine only, unless --insecure is given.

    Prints one line on standard output when it is ready, and logs to standard error. Each
    option may also come from the environment: --idle-timeout is SQUIRE_IDLE_TIMEOUT.
    Durations have units: 24h, 1h30m, 2.5s, 500ms. Sizes: 65536, 64KiB, 1MiB.

    \b
    Examples:
      squire-gatherings serve
      squire-gatherings serve --port 0 --store memory: --idle-timeout 2s
      squire-gatherings serve --host 0.0.0.0 --auth jwt --jwt-key squire.key.pub
      SQUIRE_STORE=sqlite:////var/lib/squire/rooms.sqlite3 squire-gatherings serve
    """
    open_files = raise_open_files()
    doors = make_doors(door_settings, open_files)
    hall_settings = HallSettings(
        idle_timeout=idle_timeout,
        empty_timeout=empty_timeout,
        close_grace=close_grace,
        retry_interval=retry_interval,
        retry_limit=retry_limit,
        **doors.hall,
    )
    settings = ServerSettings(
        max_message_size=max_message_size,
        ping_interval=ping_interval,
        rate_limit=rate_limit,
        close_timeout=close_grace,
        allow_origins=allow_origins or None,
        **doors.server,
    )
    admission = make_auth(
        auth=auth,
        host=host,
        insecure=insecure,
        jwt_keys=jwt_keys,
        jwt_audience=jwt_audience,
        jwt_issuer=jwt_issuer,
        token_cookie=token_cookie,
        allow_origins=allow_origins,
    )
    admin = make_admin_port(
        admin_port=admin_port,
        admin_host=admin_host,
        admin_token_file=admin_token_file,
        admin_names=admin_names,
        admin_open_metrics=admin_open_metrics,
    )
    ignore_signals()
    calm_the_collector()
    with logs(log_level, log_format):
        for name in links:
            _log.info("a service link in the environment is ignored", extra={"variable": name})
        _log.info("open files", extra={"limit": open_files})
        trio.run(
            lambda: run_server(
                host=host,
                port=port,
                store=store,
                hall_settings=hall_settings,
                settings=settings,
                auth=admission,
                reloads=[*admission.reloads, *doors.reloads],
                ssl_context=doors.certificate,
                takeover=_takeover(take_over),
                admin_port=admin,
            ),
            clock=BootTimeClock(),
        )


async def run_server(
    *,
    host: str,
    port: int,
    store: str,
    hall_settings: HallSettings,
    settings: ServerSettings,
    auth: Auth,
    reloads: Sequence[Callable[[], None]],
    ssl_context: Certificate | None = None,
    takeover: Takeover | None = None,
    admin_port: AdminPort | None = None,
) -> None:
    """Serve until a signal says stop, then disperse everything; a second one exits at once.

    A SIGHUP that comes of no lost terminal makes the `reloads`, which may wait for files. With a
    `takeover` it goes on for another process, and at SIGUSR2 another one goes on for it.
    Prints one line once it listens. Raises `CannotListen`, `NotOurs`, and what `open_store` raises.
    """
    calls = [*reloads]
    terminal, reloading = Terminal(), Reloads(calls)
    with trio.open_signal_receiver(*stop_signals(), *upgrade_signals()) as signals:
        async with (
            _taking_over(takeover),
            # Once the hall is closed nobody waits for what is still queued.
            open_store(
                store, flush_timeout=MARGIN, shared=takeover.store if takeover else ()
            ) as opened,
            open_hall(
                store=opened,
                settings=hall_settings,
                authenticate=auth.authenticator or admit_everybody,
            ) as hall,
            open_hidden_nursery() as nursery,
        ):
            try:
                server: Server = await nursery.start(
                    partial(
                        serve_websockets,
                        hall,
                        host=host,
                        port=port,
                        settings=settings,
                        ssl_context=ssl_context,
                        listeners=takeover.listeners if takeover else (),
                    )
                )
            except (OSError, UnicodeError) as error:
                # A name that nobody can look up, as it can't be encoded, is the latter.
                reason = getattr(error, "strerror", None) or error
                why = f"can't listen on {host[:255]} port {port}: {reason}"
                raise CannotListen(why) from None
            if takeover is not None:
                if not isinstance(opened, Shareable):
                    raise NotOurs("a store in memory can't be handed on")
                came = await takeover.finish(hall, server, settings, opened, nursery)
                _log.info("going on for another process", extra={"connections": came})
            admin = None
            if admin_port is not None and takeover is None:
                admin = await open_admin_port(nursery, hall, admin_port)
            elif admin_port is not None:
                admin = await open_admin_port_later(nursery, hall, admin_port)
            if admin is not None:
                calls.append(admin.reload)
            address = _url(server, "ws" if ssl_context is None else "wss")
            with suppress(OSError):
                print(f"squire_gatherings listening on {address}", flush=True)
            idle_timeout = format_duration(hall_settings.idle_timeout)
            extra = {"url": address, "store": opened.name, "idle_timeout": idle_timeout}
            _log.info("listening", extra=extra)
            auth.log()
            if admin is not None:
                tell(admin)
            nursery.start_soon(reloading.run)
            # Commands delete and compact what is in the file beside us.
            nursery.start_soon(hall.logs.watch)
            upgrades = Upgrades(hall, server, opened)
            nursery.start_soon(upgrades.run)
            number = await _stop(signals, terminal, reloading, upgrades)
            if number is not None:
                _log.info("stopping", extra={"signal": signal.Signals(number).name})
            nursery.start_soon(_exit_on_the_second, signals)
            server.stop_accepting()
            if admin is not None:
                admin.stop()
            with trio.move_on_after(hall_settings.close_grace + MARGIN):
                await hall.close()
                await server.wait_empty()
            nursery.cancel_scope.cancel()


async def _stop(
    signals: AsyncIterator[int], terminal: Terminal, reloading: Reloads, upgrades: Upgrades
) -> int | None:
    """Return the signal that says stop, or None once another process goes on.

    It sees to all signals that come before.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_done, upgrades, nursery.cancel_scope)
        async for number in signals:
            if number == getattr(signal, "SIGHUP", None) and not terminal.is_lost():
                reloading.ask()
            elif number in upgrade_signals():
                upgrades.ask()
            else:
                nursery.cancel_scope.cancel()
                return number
    return None


async def _stop_when_done(upgrades: Upgrades, scope: trio.CancelScope) -> None:
    await upgrades.done.wait()
    scope.cancel()


def _takeover(descriptor: int | None) -> Takeover | None:
    """Return the takeover from the process that has started this one for that, if one has."""
    os.environ.pop(TAKE_OVER, None)
    if descriptor is None:
        return None
    try:
        return Takeover(Channel(socket.socket(fileno=descriptor)))
    except OSError as error:
        raise click.UsageError(f"--take-over {descriptor}: {error.strerror}") from None


@asynccontextmanager
async def _taking_over(takeover: Takeover | None) -> AsyncIterator[None]:
    """Begin a takeover, if there's one, and tell the other process if the block fails."""
    if takeover is None:
        yield
        return
    with closing(takeover.channel):
        await takeover.begin()
        try:
            yield
        except BaseException as error:
            with trio.move_on_after(MARGIN, shield=True):
                await takeover.refuse(why_not(error))
            raise


async def _exit_on_the_second(signals: AsyncIterator[int]) -> None:
    async for number in signals:
        # A lost terminal is reported twice: by the system, and by the shell.
        if number != getattr(signal, "SIGHUP", None):
            os._exit(128 + number)


def _url(server: Server, scheme: str) -> str:
    host, port = server.addresses[0]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
