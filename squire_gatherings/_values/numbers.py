"""Numbers: what an operator reads of a hall and its gatherings. Reading is no activity."""

from enum import StrEnum

from attrs import frozen

from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.events import EventNumbers


class Stage(StrEnum):
    """How far the life of a gathering is."""

    OPENING = "opening"
    """It is being restored."""
    OPEN = "open"
    """It takes messages."""
    ASLEEP = "asleep"
    """It takes messages, and must be restored first: its state isn't in memory."""
    ENDING = "ending"
    """It takes nothing more, and gives its last notices."""


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
class MemberNumbers:
    """One client of a gathering at one moment."""

    number: int
    """Its number in this incarnation, from 1 on."""
    user: str | None
    """None for an anonymous one."""
    role: str
    expires_at: float | None
    """When its rights end, in seconds since 1970; None for never."""
    acked: int
    """The last seq that it acknowledged."""
    unacked: int
    """How many ops that it was brought wait for its acknowledgement."""
    waiting: int
    """How many of its messages aren't processed or answered yet."""
    backlog: int | None
    """How many bytes wait for it in this process; None where its connection can't tell."""


@frozen
class Ended:
    """How an incarnation ended."""

    gathering: str
    incarnation: str
    reason: DispersalReason
    ended_at: float
    """Seconds since 1970, by the hall's wall clock."""
    lateness: float | None
    """How many seconds after its deadline it ended; None where it didn't end by a rule."""
    lifetime: float
    """How many seconds it lived."""
    processed: int
    """How many messages it processed."""
    seq: int
    """The seq of the last op."""


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
