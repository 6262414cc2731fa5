"""Shapes: what the API takes and gives, as JSON. The OpenAPI description is made of these classes.

Times are in seconds since 1970 (UTC), by the hall's wall clock, to the millisecond. Durations are
in seconds.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

GATHERING_ID = r"^(?!\.\.?$)[A-Za-z0-9._~-]{1,128}$"
MAX_LIMIT = 1000
MAX_USER = 1024
LAST_TIME = 253_402_300_799
"""The end of the year 9999."""

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many at most.")]
Id = Annotated[str, Meta(pattern=GATHERING_ID, description="A gathering's id.")]
Time = Annotated[float, Meta(description="Seconds since 1970 (UTC).")]
When = Annotated[
    float, Meta(ge=0, le=LAST_TIME, description="An instant, in seconds since 1970 (UTC).")
]
Seconds = Annotated[float, Meta(description="Seconds.")]
Span = Annotated[float, Meta(gt=0, le=LAST_TIME, description="How long, in seconds.")]
Count = Annotated[int, Meta(ge=0)]
User = Annotated[
    str, Meta(min_length=1, max_length=MAX_USER, description="A user, as in its identity.")
]
Role = Annotated[str, Meta(min_length=1, max_length=64, description="The name of a role.")]
StageName = Literal["open", "asleep", "ending"]
SortName = Literal["id", "deadline", "clients", "seq", "opened", "processed"]


class Taken(Struct, forbid_unknown_fields=True, kw_only=True):
    """What a request may say: nothing that isn't known."""


# Gatherings.


class Gathering(Struct, kw_only=True):
    """A gathering that is in memory."""

    id: Id
    incarnation: str
    """The id of this life of it."""
    stage: StageName
    opened_at: Time
    deadline: Annotated[
        float | None, Meta(description="When it ends, if nothing happens before; null for never.")
    ]
    ends_in: Annotated[
        float | None,
        Meta(description="How many seconds that is from now, by the clock that doesn't jump."),
    ]
    last_processed_at: Annotated[
        float, Meta(description="When a message was processed last that counts as activity.")
    ]
    processed: Annotated[int, Meta(ge=0, description="How many messages were processed.")]
    clients: Annotated[int, Meta(ge=0, description="How many clients are connected.")]
    seq: Annotated[int, Meta(ge=0, description="The seq of the last op.")]
    unacked: Annotated[
        int, Meta(ge=0, description="How many forwarded ops wait for an acknowledgement.")
    ]


class Gatherings(Struct, kw_only=True):
    """A part of the list of all gatherings."""

    now: Time
    gatherings: list[Gathering]
    matched: Annotated[int, Meta(ge=0, description="How many there are in all that fit.")]
    next: Annotated[
        str | None, Meta(description="The cursor of the next part; null where this is the last.")
    ]


class ListQuery(Taken):
    """Which gatherings are listed, and how."""

    prefix: Annotated[str, Meta(max_length=128, description="What their ids begin with.")] = ""
    stage: Annotated[StageName | None, Meta(description="How far their lives are.")] = None
    min_clients: Annotated[int, Meta(ge=0, le=2**31, description="The fewest clients.")] = 0
    sort: Annotated[SortName, Meta(description="By what they are sorted; then by id.")] = "id"
    order: Annotated[Literal["ascending", "descending"], Meta(description="Which come first.")] = (
        "ascending"
    )
    limit: Limit = 100
    cursor: Annotated[
        Annotated[str, Meta(max_length=512)] | None,
        Meta(description="`next` of the part before."),
    ] = None


class LogOf(Struct, kw_only=True):
    """What the store has of a gathering."""

    first_seq: Annotated[int, Meta(ge=0, description="The first op that is there.")]
    seq: Annotated[int, Meta(ge=0, description="The last op.")]
    first_time: Annotated[float, Meta(description="When the first op was committed.")]
    last_time: Annotated[float, Meta(description="When the last op was committed.")]
    size: Annotated[int, Meta(ge=0, description="How many bytes the ops have.")]
    syncs: Annotated[int, Meta(ge=0, description="How many syncs are remembered.")]
    snapshots: Annotated[list[int], Meta(description="After which ops there are snapshots.")]
    head: Annotated[str, Meta(description="The head of the chain, in hexadecimal.")]


class GatheringAndLog(Struct, kw_only=True):
    """A gathering, and its log."""

    now: Time
    id: Id
    open: Annotated[
        Gathering | None, Meta(description="The gathering; null where it isn't in memory.")
    ]
    log: Annotated[LogOf | None, Meta(description="Its log; null where nothing is stored.")]


class ActivityQuery(Taken):
    """Which time is asked about."""

    since: Annotated[
        When | None,
        Meta(description="When it begins: by default at the opening, or with the first op."),
    ] = None
    until: Annotated[
        When | None, Meta(description="When it ends: by default now, or after the last op.")
    ] = None
    slices: Annotated[
        int, Meta(ge=1, le=MAX_LIMIT, description="Into how many slices it is divided.")
    ] = 100


class Activity(Struct, kw_only=True):
    """When a gathering was used."""

    now: Time
    since: Time
    until: Time
    ops: Annotated[
        list[Count], Meta(description="How many ops were committed, for each slice of that time.")
    ]


class Member(Struct, kw_only=True):
    """A client that is connected."""

    number: Annotated[int, Meta(ge=1, description="Its number in this incarnation.")]
    user: Annotated[str | None, Meta(description="Who it is; null for an anonymous one.")]
    role: str
    expires_at: Annotated[float | None, Meta(description="When its rights end; null for never.")]
    acked: Annotated[int, Meta(description="The last seq that it acknowledged.")]
    unacked: Annotated[int, Meta(ge=0, description="How many ops it hasn't acknowledged.")]
    waiting: Annotated[
        int, Meta(ge=0, description="How many of its messages wait to be processed or answered.")
    ]
    backlog: Annotated[
        int | None, Meta(description="How many bytes wait for it; null where nobody knows.")
    ]


class Members(Struct, kw_only=True):
    """A part of the list of a gathering's clients."""

    now: Time
    members: list[Member]
    next: Annotated[
        int | None, Meta(description="`after` for the next part; null where this is the last.")
    ]


class MembersQuery(Taken):
    """Which clients are listed."""

    after: Annotated[
        int, Meta(ge=0, le=2**53, description="The number of the last one that isn't wanted.")
    ] = 0
    limit: Limit = 100


# What is done to them.


class KickFrom(Taken):
    """Whom to put out of a gathering."""

    user: User


class Closed(Struct, kw_only=True):
    """How many connections were closed."""

    closed: Annotated[int, Meta(ge=0)]


class DeleteQuery(Taken):
    """The confirmation of a deletion."""

    confirm: Annotated[str, Meta(max_length=128, description="The gathering's id, once more.")]


class Deleted(Struct, kw_only=True):
    """What is left of a log that was deleted."""

    seq: Annotated[int, Meta(ge=0, description="The last op that it had.")]
    head: Annotated[str, Meta(description="The head of its chain, in hexadecimal.")]
    time: Annotated[float, Meta(description="When it was deleted.")]


# Users.


class Kick(Taken):
    """Whom to put out."""

    user: User
    gathering: Annotated[Id | None, Meta(description="Of which gathering; null for all.")] = None


class Revoke(Taken):
    """Whose rights to take."""

    user: User
    until: Annotated[
        When | None,
        Meta(description="Until when; null for as long as this process lives."),
    ]


class ChangeRole(Taken):
    """Who is given which role."""

    user: User
    role: Role
    gathering: Annotated[Id | None, Meta(description="In which gathering; null for all.")] = None
    until: Annotated[
        When | None,
        Meta(description="Until when it holds for joins, too; null leaves that to authentication."),
    ] = None


class Connected(Struct, kw_only=True):
    """How many connections a user has."""

    connections: Annotated[int, Meta(ge=0)]


# Addresses.


class AddressQuery(Taken):
    """Which address is asked about."""

    address: Annotated[str, Meta(max_length=64, description="An address, IPv4 or IPv6.")]


class AddressClients(Struct, kw_only=True):
    """Who comes from an address."""

    now: Time
    address: Annotated[str, Meta(description="The address; of IPv6, the /64 that it belongs to.")]
    clients: Annotated[int, Meta(ge=0, description="How many clients come from it.")]


# The hall.


class HallState(Struct, kw_only=True):
    """The hall as a whole."""

    now: Time
    version: Annotated[str, Meta(description="The version of squire_gatherings.")]
    started_at: Annotated[float, Meta(description="When the admin port was opened.")]
    closing: Annotated[bool, Meta(description="Whether the hall is closing.")]
    store: Annotated[str, Meta(description="Where logs are kept.")]
    stages: Annotated[
        dict[str, int],
        Meta(description="How many gatherings are how far: opening, open, asleep, ending."),
    ]
    clients: Annotated[int, Meta(ge=0, description="How many clients are in gatherings.")]
    connections: Annotated[int, Meta(ge=0, description="How many connections there are in all.")]
    opened: Annotated[int, Meta(ge=0, description="How many gatherings were opened so far.")]
    ended: Annotated[
        dict[str, int], Meta(description="How many have ended so far, by the rule or reason.")
    ]
    refused: Annotated[
        dict[str, int], Meta(description="How often each limit was enforced so far.")
    ]
    messages: Annotated[int, Meta(ge=0, description="How many messages were processed so far.")]
    memory: Annotated[int, Meta(description="How many bytes are held, as far as it's counted.")]
    outbound: Annotated[int, Meta(description="How many bytes wait for slow readers.")]


# Nodes.


class NodeShown(Struct, kw_only=True):
    """One of the nodes that form the hall."""

    id: Annotated[str, Meta(description="Made anew at each start.")]
    name: str
    machine: Annotated[
        str, Meta(description="The same for nodes that reach each other's Unix sockets.")
    ]
    address: Annotated[
        str, Meta(description="HOST:PORT at which it takes what other machines' nodes relay.")
    ]
    url: Annotated[str, Meta(description="Where clients reach it and no other node.")]
    state: Annotated[
        Literal["up", "draining", "silent"],
        Meta(description="`silent`: its lease is over, and any other may declare it dead."),
    ]
    gatherings: Annotated[Count, Meta(description="How many it had at its last beat.")]
    connections: Annotated[Count, Meta(description="How many clients it had then.")]
    beat_age: Annotated[
        float | None, Meta(description="How many seconds that is ago; null once it has left.")
    ]


class Nodes(Struct, kw_only=True):
    """All nodes that form the hall; none where it's alone with its store."""

    now: Time
    this: Annotated[str | None, Meta(description="The id of the node that was asked.")]
    lease_left: Annotated[
        float | None,
        Meta(
            description="How many seconds what it has stays its own, without another beat;"
            " negative if that can't be told any more."
        ),
    ]
    nodes: list[NodeShown]


class Drained(Struct, kw_only=True):
    """What came of a drain."""

    moved: Annotated[Count, Meta(description="How many gatherings other nodes have now.")]
    left: Annotated[
        Count, Meta(description="How many stay: they can't sleep, or there is no other node.")
    ]
