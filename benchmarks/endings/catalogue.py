"""The catalogue: every server that ends rooms, what ends them, and who has nothing that does."""

from typing import Literal

from attrs import frozen

from benchmarks.peers.catalogue import on_node, server_in_python, without_node

Story = Literal["idle", "left"]


@frozen
class Ender:
    """One server. `command` is given the seconds as its last argument, and prints its URL."""

    key: str
    title: str
    story: Story
    command: tuple[str, ...]
    dialect: str
    how: str
    """What ends a room."""
    ours: bool = False
    at_once: bool = False
    """Whether a room ends as soon as it is left, since no time can be set."""
    from_message: bool = False
    """Whether the time of a room that was left counts from its last message."""

    def missing(self) -> str | None:
        """Return why it can't take part here, or None."""
        return without_node() if self.command[0] == "node" else None

    def due(self, said: float, left: float, after: float) -> float:
        """Return when a room is to end, in which something was said and which was left then."""
        since = said if self.story == "idle" or self.from_message else left
        return since + (0.0 if self.at_once else after)


def _ours(store: str, *options: str) -> tuple[str, ...]:
    return server_in_python("ending_hall", "--store", store, *options)


ENDERS = (
    Ender("ours", "squire_gatherings", "idle", _ours("memory:"), "squire", "idle_timeout", True),
    Ender(
        "durable", "squire_gatherings, SQLite", "idle", _ours(""), "squire", "idle_timeout", True
    ),
    Ender(
        "colyseus",
        "Colyseus",
        "idle",
        on_node("colyseus_rooms", "idle"),
        "colyseus",
        "no idle timeout: the room's own clock.setTimeout, which the application writes",
    ),
    Ender(
        "node-ws",
        "node ws",
        "idle",
        on_node("ws_timeouts"),
        "plain",
        "no rooms: a setTimeout for each, which the application writes",
    ),
    Ender(
        "ours-left",
        "squire_gatherings",
        "left",
        _ours("memory:", "--empty"),
        "squire",
        "empty_timeout",
        True,
    ),
    Ender(
        "colyseus-left",
        "Colyseus",
        "left",
        on_node("colyseus_rooms", "left"),
        "colyseus",
        "autoDispose, a second after allowReconnection(client, seconds) is over",
    ),
    Ender(
        "hocuspocus-left",
        "Hocuspocus",
        "left",
        on_node("hocuspocus_rooms"),
        "hocuspocus",
        "unloads a document of nobody's when it was stored: debounce after the last update",
        from_message=True,
    ),
    Ender(
        "pycrdt-left",
        "pycrdt-websocket",
        "left",
        server_in_python("crdt_rooms", "--tell"),
        "crdt",
        "auto_clean_rooms: at once, no time can be set",
        at_once=True,
    ),
)

NEVER = {
    "python-socketio, Socket.IO": "a room is a set of connections: nothing ends, nobody is told",
    "Hocuspocus, pycrdt-websocket": "a room with a client never ends",
}
"""Who takes no part in a story, and why."""
