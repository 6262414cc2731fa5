"""The admin port of `serve`: its options, and its start in the server's nursery."""

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click
import trio
from attrs import frozen

from squire_gatherings._cli.options import FILE, option, options
from squire_gatherings._hall.hall import Hall
from squire_gatherings._values.errors import BadSetting

if TYPE_CHECKING:
    from squire_gatherings.admin import Admin

_log = logging.getLogger(__name__)

EXTRA = {"hypercorn", "starlette", "prometheus_client", "h11", "h2", "anyio"}
"""The packages of the extra `admin`, by the names under which they are imported."""

PATIENCE, TRY_AGAIN = 5.0, 0.05
"""How many seconds a new process tries to listen where an old one has, and after how many each
time."""

TOKEN_FILE = "squire_gatherings.admin-token"

admin_options = options(
    option(
        "--admin-port",
        type=click.IntRange(0, 65535),
        help="Port for health, metrics and the operators' API, over HTTP; 0 picks a free one."
        " Default: none.",
        show_default=False,
    ),
    option("--admin-host", default="127.0.0.1", help="Address or name that it listens on."),
    option(
        "--admin-token-file",
        default=TOKEN_FILE,
        type=FILE,
        help="File with the operators' token; made if it isn't there. Read again on SIGHUP.",
    ),
    option(
        "--admin-name",
        "admin_names",
        multiple=True,
        metavar="HOST",
        envvar="SQUIRE_ADMIN_NAME",
        help="Name of a host under which it may be asked for, besides addresses and localhost."
        " Several may be given.",
    ),
    option(
        "--admin-open-metrics",
        is_flag=True,
        help="Give /metrics to anybody who reaches that port, without the token.",
    ),
)
"""Gives a command the options of the admin port."""


@frozen(kw_only=True)
class AdminPort:
    """The admin port that the options ask for."""

    host: str
    port: int
    token_file: str
    names: tuple[str, ...]
    open_metrics: bool


def make_admin_port(
    *,
    admin_port: int | None,
    admin_host: str,
    admin_token_file: str,
    admin_names: tuple[str, ...],
    admin_open_metrics: bool,
) -> AdminPort | None:
    """Return what the options ask for; None for no port.

    Raises:
        click.ClickException: The extra isn't installed.
    """
    if admin_port is None:
        return None
    try:
        import squire_gatherings.admin  # noqa: F401
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise click.ClickException(
            f"--admin-port needs {package}: pip install 'squire-gatherings[admin]'"
        ) from None
    return AdminPort(
        host=admin_host,
        port=admin_port,
        token_file=admin_token_file,
        names=admin_names,
        open_metrics=admin_open_metrics,
    )


async def open_admin_port(
    nursery: trio.Nursery,
    hall: Hall,
    port: AdminPort,
    listeners: Sequence[socket.socket] | None = None,
) -> "Admin":
    """Begin to serve it in a nursery.

    Args:
        nursery: Has its tasks.
        hall: The hall that is shown.
        port: What the options ask for.
        listeners: Sockets that listen already, instead of on its host and port.

    Raises:
        click.ClickException: It can't listen there.
        BadSetting: The token's file can't be used.

    Cancellation: it isn't served.
    """
    from squire_gatherings.admin import serve_admin

    serve = partial(
        serve_admin,
        hall,
        host=port.host,
        port=port.port,
        token_file=port.token_file,
        names=port.names,
        open_metrics=port.open_metrics,
        listeners=listeners,
    )
    try:
        admin: Admin = await nursery.start(serve)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        why = f"can't listen on {port.host[:255]} port {port.port} for operators: {reason}"
        raise click.ClickException(why) from None
    return admin


async def take_admin_port(
    nursery: trio.Nursery, hall: Hall, port: AdminPort, listeners: Sequence[socket.socket]
) -> "Admin | None":
    """As `open_admin_port`, with the `listeners` of another process, unless the port is another.

    Without them, that process may still listen there, for a moment. Whatever goes wrong is logged:
    there are clients to be served.
    """
    if listeners and port.port not in (0, listeners[0].getsockname()[1]):
        for listener in listeners:
            listener.close()
        listeners = ()
    give_up_at = trio.current_time() + PATIENCE
    while True:
        try:
            return await open_admin_port(nursery, hall, port, listeners or None)
        except (click.ClickException, BadSetting) as error:
            if trio.current_time() >= give_up_at:
                why = error.format_message() if isinstance(error, click.ClickException) else error
                _log.error("going on without the admin port", extra={"why": str(why)})
                for listener in listeners:
                    listener.close()
                return None
        await trio.sleep(TRY_AGAIN)


def tell(admin: "Admin", *, is_printed: bool = True) -> None:
    """Say where it is, and where the token is; also on standard output, if that is wanted."""
    host, port = admin.addresses[0]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with suppress(OSError):
        if is_printed:
            told = f"squire_gatherings admin port on {url}, token in {admin.token_file}"
            print(told, flush=True)
    extra = {"url": url, "path": admin.token_file, "made": admin.is_new}
    _log.info("the admin port is open", extra=extra)
    if admin.is_exposed:
        _log.warning("others may read the operators' token", extra={"path": admin.token_file})
