"""Pinging: who is silent for an interval is pinged; who is silent for another is dropped."""

import trio

from squire_gatherings._hall.lateness import HELD_UP, is_late
from squire_gatherings._server.connection import WebSocketConnection
from squire_gatherings._server.serving import Serving
from squire_gatherings._server.silence import ROUNDS

AT_ONCE = 256
"""How many connections have their round of the keep-alive before others get their turn."""


async def keep_alive(server: Serving, interval: float) -> None:
    """Ping clients that were silent for an interval, drop those silent for another.

    Args:
        server: The server that has the clients.
        interval: The interval, in seconds.

    Cancellation: ends it, and nothing else.
    """
    server.keeps_alive = True
    try:
        await keep_rounds(server, server.all_connections, interval)
    finally:
        server.keeps_alive = False


async def keep_rounds(
    server: Serving, connections: set[WebSocketConnection], interval: float
) -> None:
    """As `keep_alive`, for some of the clients, as long as nobody does it for all."""
    pause = interval / ROUNDS
    while True:
        due = trio.current_time() + pause
        await trio.sleep_until(due)
        if is_late(due, max(HELD_UP, pause / ROUNDS)):
            # We were kept from listening. What arrived meanwhile is read first, and this is no
            # round in which anybody was silent.
            continue
        if server.is_paused or (server.keeps_alive and connections is not server.all_connections):
            continue
        for number, connection in enumerate(tuple(connections), 1):
            connection.keep_alive()
            if not number % AT_ONCE:
                await trio.lowlevel.checkpoint()
