"""Serving: the admin port's sockets, and hypercorn, which speaks HTTP on them.

Hypercorn writes to a connection under a shield, and waits for one that reads nothing for as long as
the kernel does. So the kernel is told (`TCP_USER_TIMEOUT`, where it knows that) for how long.
What hypercorn itself fails over ends nothing but the connections that it has: it begins anew.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import hypercorn.trio
import trio
from attrs import define
from hypercorn.config import Config
from starlette.types import ASGIApp

from squire_gatherings._admin.api.hall import VERSION
from squire_gatherings._admin.app import make_app
from squire_gatherings._admin.health import Health, folder_of, health_routes
from squire_gatherings._admin.live.news import Watched
from squire_gatherings._admin.live.routes import Live, live_routes
from squire_gatherings._admin.metrics.collector_pauses import CollectorPauses
from squire_gatherings._admin.metrics.exposition import Exposition, Numbers
from squire_gatherings._admin.metrics.loop_delay import LoopDelay
from squire_gatherings._admin.metrics.route import metrics_route
from squire_gatherings._admin.operations import Served
from squire_gatherings._admin.page.routes import page_routes
from squire_gatherings._admin.security import Gate, Token
from squire_gatherings._cluster.node import local_node_of
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import board_of, observer_of, quotas_of
from squire_gatherings._server.listening import listen

_log = logging.getLogger(__name__)

_hypercorn_log = logging.getLogger("squire_gatherings.admin.http")
_hypercorn_log.setLevel(logging.WARNING)

MOST_GRACE = 1.0
"""How many seconds requests may go on when the port closes."""

AGAIN_AFTER = 1.0
"""How many seconds pass until hypercorn begins anew."""

LEAST_TIMEOUT = 1.0
"""A connection that takes nothing is kept so many seconds at least."""


@define(eq=False)
class Admin:
    """An admin port that is open."""

    addresses: Sequence[tuple[str, int]]
    """The hosts and ports it listens on."""
    token_file: str
    """The file with the operator's token."""
    is_new: bool
    """Whether the file was made now."""
    is_exposed: bool
    """Whether others than the file's owner may read it."""
    listeners: Sequence[socket.socket]
    """The sockets on which it listens."""
    _served: Served
    _token: Token
    _scope: trio.CancelScope

    def reload(self) -> None:
        """Read the token's file again. Raises `BadSetting`; the token from before stays then."""
        self._token.reload()

    def read_again(self) -> Callable[[], None]:
        """As `reload`, for somebody who reads more: returns what takes over what was read."""
        return self._token.read_again()

    def leave(self) -> None:
        """Serve nobody any more, at once: another process has the sockets, too. It's then over."""
        self._scope.cancel()

    def stop(self) -> None:
        """End answers that last long (streams, exports). Later calls do nothing."""
        self._served.stopping.set()


@define(eq=False)
class _Watch:
    """What is measured while the port is open."""

    loop: LoopDelay
    collector: CollectorPauses


def admin_app(
    hall: Hall, *, token_file: str, names: Iterable[str] = (), open_metrics: bool = False
) -> ASGIApp:
    """Return the ASGI application, for a program that serves it itself, on Trio.

    What is measured (the loop's delay, the collector's pauses) is measured by `serve_admin` only.

    Args:
        hall: The hall that is shown.
        token_file: The file with the operator's token; made if it isn't there.
        names: The names of hosts under which it may be asked for.
        open_metrics: Whether `/metrics` needs no token.

    Raises:
        BadSetting: The file can't be read, or has no token.
    """
    watch = _Watch(LoopDelay(), CollectorPauses())
    app, _ = _made(hall, Token(token_file), names, watch, open_metrics=open_metrics)
    return app


def _made(
    hall: Hall, token: Token, names: Iterable[str], watch: _Watch, *, open_metrics: bool
) -> tuple[ASGIApp, Served]:
    observer = observer_of(hall)
    gate = Gate(token, frozenset(name.lower() for name in names), observer.wall)
    served = Served(hall, observer, gate, round(observer.wall(), 3))
    health = Health(hall, observer, watch.loop, folder_of(hall.store.name))
    watched = Watched(hall, observer, board_of(hall))
    numbers = Numbers(
        observer,
        quotas_of(hall),
        watch.loop,
        watch.collector,
        VERSION,
        watched.viewers,
        local_node_of(hall),
    )
    routes = [
        *health_routes(health),
        metrics_route(Exposition(numbers), gate, is_open=open_metrics),
        *live_routes(Live(served, watched)),
        *page_routes(),
    ]
    return make_app(served, *routes), served


async def serve_admin(
    hall: Hall,
    *,
    port: int,
    token_file: str,
    host: str = "127.0.0.1",
    names: Iterable[str] = (),
    open_metrics: bool = False,
    listeners: Sequence[socket.socket] | None = None,
    task_status: trio.TaskStatus[Admin] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve health, metrics, the API and the page of a hall over HTTP until cancelled.

    For `nursery.start`, which returns the `Admin` once it listens.

    Args:
        hall: The hall that is shown.
        port: 0 picks one that is free; see `Admin.addresses`.
        token_file: The file with the operator's token; made (0600) if it isn't there.
        host: A name or an address of this machine.
        names: The names of hosts under which it may be asked for, besides addresses and
            `localhost`.
        open_metrics: Whether `/metrics` needs no token.
        listeners: Sockets that listen already, instead of on `host` and `port`. They are closed at
            the end.
        task_status: `nursery.start` gives it.

    Raises:
        BadSetting: The token's file can't be made or read, or has no token.
        OSError: It can't listen there.

    Cancellation: connections are closed. One that reads nothing may delay that, by `close_grace`
    at most where the system is Linux.
    """
    token = Token(token_file)
    watch = _Watch(LoopDelay(), CollectorPauses())
    app, served = _made(hall, token, names, watch, open_metrics=open_metrics)
    with ExitStack() as stack, trio.CancelScope() as scope:
        listeners = await listen(host, port) if listeners is None else listeners
        for listener in listeners:
            stack.enter_context(listener)
        for listener in listeners:
            _limit_waiting(listener, max(LEAST_TIMEOUT, hall.settings.close_grace))
        addresses = [listener.getsockname()[:2] for listener in listeners]
        stack.enter_context(watch.collector.measured())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.loop.run)
            task_status.started(
                Admin(
                    addresses,
                    token_file,
                    token.is_new,
                    token.is_open,
                    listeners,
                    served,
                    token,
                    scope,
                )
            )
            await _keep_serving(app, listeners)


def _limit_waiting(listener: socket.socket, seconds: float) -> None:
    """Have connections broken off that take nothing for so long. They inherit it."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = min(int(seconds * 1000), 2**31 - 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


async def _keep_serving(app: ASGIApp, listeners: Sequence[socket.socket]) -> None:
    while True:
        try:
            await hypercorn.trio.serve(app, _config(listeners), mode="asgi")  # type: ignore[arg-type]
        except Exception as error:
            _log.error("the admin port failed, and begins anew", exc_info=error)
        await trio.sleep(AGAIN_AFTER)


def _config(listeners: Sequence[socket.socket]) -> Config:
    config = Config()
    # Hypercorn closes what it is given.
    config.bind = [f"fd://{os.dup(listener.fileno())}" for listener in listeners]
    config.errorlog = _hypercorn_log
    config.accesslog = None
    config.include_server_header = False
    config.graceful_timeout = MOST_GRACE
    config.shutdown_timeout = MOST_GRACE
    return config
