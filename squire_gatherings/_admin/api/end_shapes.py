"""Shapes of ends: what the API takes and gives about when gatherings end, and how they did."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from squire_gatherings._admin.api.shapes import (
    Count,
    Id,
    Limit,
    Seconds,
    Span,
    Taken,
    Time,
    When,
)


class Rules(Struct, kw_only=True):
    """The rules by which a gathering ends; null is for off, and for an instant that never comes."""

    idle_timeout: float | None
    empty_timeout: float | None
    unjoined_timeout: float | None
    alone_timeout: float | None
    alone_clients: int
    max_age: float | None
    ends_at: float | None
    hold_until: float | None
    warn_before: float | None


class Moved(Struct, kw_only=True):
    """What moved a deadline last."""

    what: Annotated[
        str,
        Meta(description="A message that counts (`join`, `sync` …), or what was asked for."),
    ]
    by: Annotated[str | None, Meta(description="Who said it; null where nobody is known.")]
    at: Time


class Here(Struct, kw_only=True, frozen=True):
    """Who is here, of those who asked to be shown (see docs/presence.md)."""

    users: Annotated[Count, Meta(description="How many users.")]
    anonymous: Annotated[Count, Meta(description="How many connections of nobody known.")]


class Explanation(Struct, kw_only=True):
    """Why a gathering is alive, and when it ends."""

    now: Time
    id: Id
    incarnation: str
    opened_at: Time
    last_processed_at: Time
    clients: Count
    deadline: Annotated[
        float | None, Meta(description="When it ends, if nothing happens before; null for never.")
    ]
    ends_in: Annotated[float | None, Meta(description="How many seconds that is from now.")]
    rule: Annotated[str | None, Meta(description="The rule that ends it then; null for none.")]
    ends: Annotated[dict[str, float], Meta(description="When each rule that runs would end it.")]
    held_until: Annotated[
        float | None, Meta(description="Until when it is held beyond what the rules say, if it is.")
    ]
    warns_at: Annotated[
        float | None, Meta(description="When its clients are warned next, if they are.")
    ]
    warned: Annotated[bool, Meta(description="Whether they were told of an end that stands.")]
    rules: Rules
    moved: Moved
    here: Annotated[
        Here | None, Meta(description="Who is shown as being here; null without `--presence`.")
    ] = None


class Hold(Taken):
    """Until when no rule may end a gathering: one of the two."""

    until: Annotated[
        When | UnsetType | None,
        Meta(description="An instant; null takes a hold back."),
    ] = UNSET
    seconds: Annotated[Span | UnsetType, Meta(description="How many seconds from now.")] = (
        msgspec.field(default=UNSET, name="for")
    )


class Extend(Taken):
    """How much longer a gathering is to live."""

    seconds: Span


class Dispersal(Struct, kw_only=True):
    """What became of a gathering that was to disperse."""

    dispersed: Annotated[bool, Meta(description="Whether it was in memory, and is gone now.")]


class End(Struct, kw_only=True):
    """How a gathering ended."""

    id: Id
    incarnation: str
    reason: Annotated[str, Meta(description="The rule by which it ended, or another reason.")]
    ended_at: Time
    lateness: Annotated[
        float | None,
        Meta(description="How many seconds after its deadline; null where no rule ended it."),
    ]
    lifetime: Seconds
    processed: Count
    seq: Count


class Endings(Struct, kw_only=True):
    """The last ends, the newest first."""

    now: Time
    endings: list[End]


class EndingsQuery(Taken):
    """How many of the last ends are wanted."""

    limit: Limit = 100
