"""One message on its way to any number of connections, encoded once for all of them."""

from collections.abc import Hashable

from msgspec import Struct

from squire_gatherings._values.messages import ServerMessage


class Outgoing(Struct, eq=False, gc=False):
    """A message, and what connections have made of it."""

    message: ServerMessage
    encoded: dict[Hashable, bytes] = {}
    """The message as bytes. Each kind of connection keeps its own here, under a key of its own: a
    WebSocket keeps the whole frame, under its subprotocol."""

    def __repr__(self) -> str:
        return f"Outgoing({self.message!r})"
