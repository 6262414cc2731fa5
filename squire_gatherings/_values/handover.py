"""Handover: what a process tells the next one, which goes on with its gatherings and connections.

Instants are in seconds of a clock that both processes have: that of the machine. Numbers of
connections are the first process's; its descriptors come by them.

A room's state is told again whenever it has changed, with the ops that its log has had since.

A field is only ever added at the end, and with a default. Any other change is another `FORMAT`.
"""

import math

from msgspec import Struct

FORMAT = 3
"""What both processes must have in common."""


class WindowState(Struct, frozen=True, array_like=True):
    """A `DeliveryWindow`."""

    acked: int
    reached: int
    owed: int
    resend_to: int
    due_at: float
    resend_at: float
    give_up_at: float
    ever_acked: bool
    interval: float
    own: list[tuple[int, int]] | None
    retry_interval: float | None = None
    """None from a process that knew only one for all."""


class HeldAnswer(Struct, frozen=True, array_like=True):
    """The answer to a sync, which waits until its client has what comes before its ops."""

    first: int
    stop: int
    """The seqs of the sync's ops that the answer stands for: from `first` to before `stop`."""
    id: str
    seqs: tuple[int, ...]
    ops: tuple[bytes, ...] | None
    time: int | None


class ClientState(Struct, frozen=True, array_like=True):
    """One client in a gathering."""

    connection: int
    number: int
    user: str | None
    role: str
    expires_at: float | None
    vouched: bool
    scope: str
    asked: int
    times: bool
    proof: bool
    joined_at: int
    acked: int
    leaving: bool
    window: WindowState
    held: list[HeldAnswer] | None = None
    syncs: bool = False


class DeadlineState(Struct, frozen=True, array_like=True):
    """A `Deadline`, without its rules."""

    opened_at: float
    last_processed_at: float
    emptied_at: float | None
    few_since: float | None
    was_joined: bool
    extended_to: float
    told: tuple[str, float, float] | None
    """Of what the clients were told last: the rule, the end, and when they were told."""
    moved: tuple[str, str | None, float]
    """What moved it last, by whom, and when."""


class LaterOps(Struct, frozen=True, array_like=True):
    """What a log has had since the other process was told of it last. All of it is durable."""

    first: int
    """The seq of the first of these ops."""
    ops: list[bytes]
    by: list[str | None]
    times: list[int]
    syncs: list[tuple[str, str, int, int, bytes]]
    """As `SyncRecord` has it."""
    head: bytes
    """The head of the chain after them; empty where it isn't known."""


class RoomState(Struct, frozen=True, array_like=True):
    """One incarnation. Its log is in the store."""

    id: str
    incarnation: str
    seq: int
    """The last op, which the store must have."""
    opener: tuple[str, str | None] | None
    deadline: DeadlineState
    rules: dict[str, float | int | None] | None
    """The rules that it was opened with; None for those of the hall."""
    changes: dict[str, float | int | None]
    """What the program has changed of them since."""
    processed: int
    is_wanted: bool
    numbered: int
    clients: list[ClientState]
    later: LaterOps | None = None
    """None where nothing has come since, or where not all of it is in memory any more."""
    life: tuple[int, int, int, int] | None = None
    """What is counted for its lifecycle events, if somebody is told of these."""
    presence: list[tuple[int, bytes]] | None = None
    """The clients that are told who is here, by number, and with the states that they have."""


class EndingState(Struct, frozen=True, array_like=True):
    """The last notice of an incarnation that has ended."""

    gathering: str
    incarnation: str
    reason: str
    seq: int
    idle_for: float


class EventsState(Struct, frozen=True, array_like=True):
    """How far the lifecycle events of a hall are; they are in the store."""

    number: int
    """The number of the last one."""
    at: int
    """The number of the last one that was delivered."""
    stored: int
    delivered: int
    omitted: int


class HallState(Struct, frozen=True, array_like=True):
    """What a hall knows besides its gatherings."""

    mark: str
    """How the ids of its incarnations begin."""
    endings: list[EndingState]
    poison: list[tuple[str, str, str]]
    """Gathering, scope and id of syncs that crashed their gathering."""
    revoked: list[tuple[str, float]]
    roles: list[tuple[str, str | None, str, float]]
    """User, gathering or None for all, role, and until when."""
    rights_count: int
    rights_forgotten: int
    rights_changed: list[tuple[str, int]]
    opened: int
    ended: dict[str, int]
    events: EventsState | None = None


class RequestState(Struct, frozen=True, array_like=True):
    """What a client asked for that has shaken hands, and may not have said `join` yet."""

    gathering: str
    path: str
    headers: tuple[tuple[str, str], ...]
    peer: str | None
    subprotocols: tuple[str, ...]


class Newcomer(Struct, frozen=True, array_like=True):
    """A connection that goes along, and what doesn't change of it."""

    number: int
    peer: str | None
    subprotocol: str | None
    """None for one that hasn't shaken hands yet."""
    request: RequestState | None = None
    """What it asked for; None once it is in a gathering."""


class ConnectionState(Struct, frozen=True, array_like=True):
    """A connection that goes along: what is on its way."""

    number: int
    unread: bytes
    """What has come and isn't a whole message yet, as frames. Of a client that hasn't shaken hands:
    what it has said so far."""
    unsent: bytes
    """What hasn't gone out; it may begin within a frame."""
    quiet_until: float = -math.inf
    """When it may be read again, where it sent too much that says nothing."""
