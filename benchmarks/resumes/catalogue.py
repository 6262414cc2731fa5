"""The catalogue: every library that comes back after a lost connection, its server and clients."""

import sys

from attrs import frozen

from benchmarks.peers.catalogue import on_node, server_in_python, without_node

IDLE = 2.0
"""Seconds after which our own gatherings end."""


@frozen
class Library:
    """A client library, with its server.

    `server` prints its URL. `listeners` is given the proxy's URL, the server's own, how many events
    are said in each room, how many seconds are between them, and how many rooms are open at once;
    it reads the rooms' names from stdin, and prints a line of JSON for each that is done:
    `{"room": …, "heard": [1, 2, 3], "ended": false}`.
    """

    key: str
    title: str
    server: tuple[str, ...]
    listeners: tuple[str, ...]
    exact: str
    """What makes it come back exact, or doesn't."""
    ends: bool = False
    """Whether rooms end, and tell it."""

    def missing(self) -> str | None:
        """Return why it can't take part here, or None."""
        return without_node() if self.listeners[0] == "node" else None


LIBRARIES = (
    Library(
        "ours",
        "squire_gatherings",
        server_in_python("ending_hall", "--store", "memory:", str(IDLE)),
        (sys.executable, "-m", "benchmarks.resumes.listeners"),
        "it joins with the seq that it has; the log has the rest",
        ends=True,
    ),
    Library(
        "socketio",
        "Socket.IO, with recovery",
        on_node("socketio_recovery"),
        on_node("socketio_listeners"),
        "connectionStateRecovery; it needs the session and one event that was heard",
    ),
    Library(
        "socketio-plain",
        "Socket.IO, without",
        on_node("socketio_recovery", "off"),
        on_node("socketio_listeners"),
        "nothing: what is said meanwhile isn't for it",
    ),
    Library(
        "hocuspocus",
        "Hocuspocus and its provider",
        on_node("hocuspocus_rooms", "5"),
        on_node("yjs_listeners", "hocuspocus"),
        "both compare their documents; an event is an element of an array",
    ),
    Library(
        "y-websocket",
        "y-websocket, at pycrdt-websocket",
        server_in_python("crdt_rooms"),
        on_node("yjs_listeners", "y-websocket"),
        "both compare their documents; an event is an element of an array",
    ),
)
