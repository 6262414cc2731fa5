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
    """A hall at one moment.

    `dispersed` counts incarnations by the reason of their end, `refused` by limit how often each
    was enforced (docs/security.md), also by the hall's ways in. `memory` are the bytes that the
    hall and its ways in hold, as far as they are counted.
    """

    now: float
    gatherings: tuple[GatheringNumbers, ...]
    clients: int
    opened: int
    crashed: int
    dispersed: dict[str, int]
    refused: dict[str, int]
    memory: int


@frozen
class ServerNumbers:
    """A server at one moment; all but `connections` count for its hall and all ways into it.

    `connections` are its open WebSockets; `clients` those who have said `join`, `handshakes` those
    who haven't yet, of whom `gave_way` to others so far. `refused` and `memory` are as in
    `HallNumbers`.
    """

    connections: int
    clients: int
    handshakes: int
    gave_way: int
    refused: dict[str, int]
    memory: int
