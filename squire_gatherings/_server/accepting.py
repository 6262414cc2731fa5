"""Accepting: a server listens, and who connects gets a task (`attending`)."""

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack

import trio

from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.parts import turnstile_of
from squire_gatherings._poller import Poller
from squire_gatherings._server.attending import serve_socket
from squire_gatherings._server.limits import limits_of
from squire_gatherings._server.listening import listen
from squire_gatherings._server.outbox import Flusher
from squire_gatherings._server.pinging import keep_alive
from squire_gatherings._server.server import Server
from squire_gatherings._server.serving import ServerStep, Serving
from squire_gatherings._server.settings import ServerSettings
from squire_gatherings._server.tls import TlsContext

ACCEPT_PAUSE = 0.1
DOOR_PAUSE = 0.01
"""How many seconds nobody is accepted while all at the door wait for the server."""

ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before others get their turn."""

TASK_NAME = "WebSocket connection"
"""The name of the tasks that serve clients. Trio would make one for each of them: 95 bytes."""

_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


async def serve(
    hall: Hall,
    *,
    host: str | None,
    port: int,
    settings: ServerSettings | None = None,
    ssl_context: TlsContext | None = None,
    listeners: Sequence[socket.socket] = (),
    is_paused: bool = False,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a hall's gatherings at `ws://host:port/gatherings/ID` until cancelled.

    For `nursery.start`, which returns the `Server` once it listens.

    Args:
        hall: The hall that has the gatherings.
        host: A name or an address of this machine; None for all its addresses.
        port: 0 picks one that is free; see `Server.addresses`.
        settings: The limits of each connection.
        ssl_context: For `wss://`: what secures the connections; or a function that is asked for it
            at each new one, so that a certificate can be renewed.
        listeners: Sockets that listen already, and don't block: it serves those who come to them,
            whatever `host` and `port` are, and closes them at the end.
        is_paused: Whether it begins with a pause, until `Server.resume`: another process may still
            have the listeners.
        task_status: `nursery.start` gives it.

    Raises:
        OSError: It can't listen there.

    Cancellation: every client is told that the server goes away, if that needs no waiting.
    """
    settings = settings or ServerSettings()
    with ExitStack() as stack:
        listeners = listeners or await listen(host, port)
        for listener in listeners:
            stack.enter_context(listener)
        flusher, limits, turnstile = Flusher(), limits_of(hall), turnstile_of(hall)
        step = ServerStep(limits.quotas.round, flusher)
        poller: Poller | None = None
        if Poller.is_possible():
            poller = stack.enter_context(Poller(step, lambda: turnstile.is_crowded))
        addresses = [listener.getsockname()[:2] for listener in listeners]
        server = Serving(addresses, listeners, poller, flusher, limits=limits, settings=settings)
        if is_paused:
            server.pause()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flusher.run)
            if poller is not None:
                nursery.start_soon(server.read, poller, turnstile)
            nursery.start_soon(keep_alive, server, settings.ping_interval)
            task_status.started(server)
            with server.accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        acceptors.start_soon(_accept, listener, hall, server, ssl_context, nursery)
            await trio.sleep_forever()


async def room_for(server: Serving, wanted: int) -> int:
    """Return how many of `wanted` clients may come to the door now; 0 after a moment.

    A checkpoint only then. Cancellation: nothing has changed.
    """
    room = server.limits.door.room(server.settings.max_handshakes, wanted, server.coming)
    if not room:
        # Who has been accepted stands at the door, or has somebody give way, in a moment.
        await trio.sleep(0.0 if server.coming else DOOR_PAUSE)
    return room


async def _accept(
    listener: socket.socket,
    hall: Hall,
    server: Serving,
    ssl_context: TlsContext | None,
    nursery: trio.Nursery,
) -> None:
    # It may have been closed (stop_accepting) between becoming readable and our turn.
    while listener.fileno() >= 0:
        await trio.lowlevel.wait_readable(listener)
        if server.is_paused:
            await server.until_resumed()
            continue
        try:
            settings = server.settings
            # A client that comes now waits in the listener's queue, and isn't turned away.
            for _ in range(await room_for(server, ACCEPTED_AT_ONCE)):
                client, address = listener.accept()
                client.setblocking(False)
                server.expect(1)
                arguments = client, address[0], hall, server, settings, ssl_context
                nursery.start_soon(serve_socket, *arguments, name=TASK_NAME)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _TRANSIENT:
                # ECONNABORTED and its like: that client is gone, others will come.
                continue
            server.log_trouble(error)
            # A client that says nothing mustn't take another's descriptor.
            for _ in range(ACCEPTED_AT_ONCE):
                server.limits.door.give_way()
            await trio.sleep(ACCEPT_PAUSE)
