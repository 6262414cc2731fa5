"""Numbers: what an operator reads of a hall and its gatherings. Reading is no activity."""

from attrs import frozen


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
    """The last op's."""
    unacked: int
    """How many forwarded ops wait for an acknowledgement, of all clients together."""


@frozen
class HallNumbers:
    """A hall at one moment."""

    now: float
    """Seconds of the hall's (Trio's) clock."""
    gatherings: tuple[GatheringNumbers, ...]
    """Those in memory."""
    clients: int
    """How many are connected."""
    opened: int
    """How many incarnations were opened so far."""
    crashed: int
    """How many of them crashed."""
    dispersed: dict[str, int]
    """How many of them ended, by the reason."""
