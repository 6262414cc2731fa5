"""Numbers: what an operator reads of a hall and its gatherings. Reading is no activity."""

from attrs import frozen


@frozen
class GatheringNumbers:
    """One gathering at one moment; times are seconds of the hall's (Trio's) clock."""

    gathering: str
    incarnation: str
    opened_at: float
    processed: int
    last_processed_at: float
    deadline: float
    clients: int
    seq: int
    unacked: int


@frozen
class HallNumbers:
    """A hall at one moment. `dispersed` counts incarnations by the reason of their end."""

    now: float
    gatherings: tuple[GatheringNumbers, ...]
    clients: int
    opened: int
    crashed: int
    dispersed: dict[str, int]
