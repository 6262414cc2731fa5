"""One message on its way to any number of connections, encoded once for all of them."""

from collections.abc import Hashable

from attrs import define, field

from squire_gatherings._values.messages import ServerMessage


@define(eq=False)
class Outgoing:
    """A message, and the place where servers and clients keep its encodings.

    `encoded` belongs to them: each keeps there what it made of the message, under a
    key of its own (the WebSocket edge: the whole frame, under its subprotocol).
    """

    message: ServerMessage
    encoded: dict[Hashable, bytes] = field(factory=dict, repr=False)
