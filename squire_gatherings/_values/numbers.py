"""Numbers: what an operator reads of a hall and its gatherings. Reading is no activity."""

from attrs import frozen

from squire_gatherings._values.events import EventNumbers


@frozen
class GatheringNumbers:
    """One gathering at one moment. Times are seconds of the hall's (Trio's) clock."""

    gathering: str
    """Its id."""
    incarnation: str
    opened_at: float
    processed: int
    """How many messages were processed in this incarnation."""
    last_processed_at: float
    deadline: float
    """When it disperses, if nothing happens before; infinity for never."""
    clients: int
    """How many are connected."""
    seq: int
    """The seq of the last op."""
    unacked: int
    """How many forwarded ops wait for an acknowledgement, of all clients together."""


@frozen
class HallNumbers:
    """A hall at one moment."""

    now: float
    """Seconds of the hall's (Trio's) clock."""
    gatherings: tuple[GatheringNumbers, ...]
    """The gatherings that are in memory."""
    clients: int
    """How many are connected."""
    opened: int
    """How many incarnations were opened so far."""
    crashed: int
    """How many of them crashed."""
    dispersed: dict[str, int]
    """How many of them ended, by the reason."""
    refused: dict[str, int]
    """How often each limit was enforced, also by the hall's ways in (docs/security.md)."""
    memory: int
    """The bytes that the hall and its ways in hold, as far as they are counted."""
    events: EventNumbers | None = None
    """Its lifecycle events; None where nobody is told of them."""


@frozen
class ServerNumbers:
    """A server at one moment. All but `connections` count for its hall and all ways into it."""

    connections: int
    """Its open WebSockets."""
    clients: int
    """How many have said `join`."""
    handshakes: int
    """How many are connected and haven't said it yet."""
    gave_way: int
    """How many of these were closed so far, to make room for others."""
    refused: dict[str, int]
    """As in `HallNumbers`."""
    memory: int
    """As in `HallNumbers`."""
