"""One message on its way to any number of connections, encoded once for all of them."""

from collections.abc import Hashable

from attrs import define, field

from squire_gatherings._values.messages import ServerMessage


@define(eq=False)
class Outgoing:
    """A message, and what connections have made of it."""

    message: ServerMessage
    encoded: dict[Hashable, bytes] = field(factory=dict, repr=False)
    """The message as bytes. Each kind of connection keeps its own here, under a key of its own: a
    WebSocket keeps the whole frame, under its subprotocol."""
