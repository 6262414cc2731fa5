"""`serve`: a hall behind a WebSocket server, until a signal says stop."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import trio
from attrs import frozen

from squire_gatherings.actors.hall import open_hall
from squire_gatherings.edges.stores import open_store
from squire_gatherings.edges.websocket import Server, ServerSettings, serve
from squire_gatherings.programs.units import format_duration
from squire_gatherings.values.settings import HallSettings

_log = logging.getLogger(__name__)


@frozen
class CannotListen(Exception):
    """The address can't be listened on; says why."""

    why: str

    def __str__(self) -> str:
        return self.why


async def run_server(
    *, host: str, port: int, store: str, hall_settings: HallSettings, settings: ServerSettings
) -> None:
    """Serve until SIGINT or SIGTERM, then disperse everything; a second signal exits at once.

    Prints one line once it listens. Raises `CannotListen`, and what `open_store` raises.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            open_store(store) as opened,
            open_hall(store=opened, settings=hall_settings) as hall,
            trio.open_nursery() as nursery,
        ):
            try:
                server: Server = await nursery.start(
                    partial(serve, hall, host=host, port=port, settings=settings)
                )
            except OSError as error:
                why = f"can't listen on {host} port {port}: {error.strerror or error}"
                raise CannotListen(why) from None
            address = _url(server)
            print(f"squire_gatherings listening on {address}", flush=True)
            idle_timeout = format_duration(hall_settings.idle_timeout)
            extra = {"url": address, "store": opened.name, "idle_timeout": idle_timeout}
            _log.info("listening", extra=extra)
            number = await anext(signals)
            _log.info("stopping", extra={"signal": signal.Signals(number).name})
            nursery.start_soon(_exit_on_the_second, signals)
            server.stop_accepting()
            with trio.move_on_after(hall_settings.close_grace + 0.5):
                await hall.close()
                await server.wait_empty()
            nursery.cancel_scope.cancel()


async def _exit_on_the_second(signals: AsyncIterator[int]) -> None:
    number = await anext(signals)
    os._exit(128 + number)


def _url(server: Server) -> str:
    host, port = server.addresses[0]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
