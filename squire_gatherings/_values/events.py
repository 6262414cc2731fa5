"""Lifecycle events: what happened to gatherings, as a program or a webhook is told it."""

from enum import StrEnum
from typing import Any

from attrs import frozen

LOST = "lost"
"""The reason of an incarnation that ended without anybody noting it: its process was killed."""


class EventKind(StrEnum):
    """What a lifecycle event tells of an incarnation."""

    OPENED = "opened"
    JOINED_FIRST = "joined_first"
    EMPTIED = "emptied"
    ENDING = "ending"
    DISPERSED = "dispersed"


@frozen
class LifecycleEvent:
    """Something that happened to a gathering; see docs/events.md for what each kind has."""

    number: int
    """Its place in the order of the store: each event has a greater one than those before it."""
    id: str
    """The same however often the event is delivered, and no other event's."""
    gathering: str
    incarnation: str
    kind: EventKind
    time: int
    """When it happened: milliseconds since 1970 (UTC)."""
    data: dict[str, Any]
    """What else there is to tell, by name; all of it is JSON."""


@frozen
class OpenIncarnation:
    """An incarnation that has opened and hasn't dispersed, as far as the store knows."""

    opened: LifecycleEvent
    seq: int | None
    """The last seq of the gathering's log; None where the store can't tell."""


@frozen
class EventsLeft:
    """What a store has of the events of earlier halls."""

    last: int
    """The number of the last event that there ever was."""
    waiting: int
    """How many events weren't delivered."""
    open: tuple[OpenIncarnation, ...]
    """In the order in which they were opened."""


@frozen
class EventNumbers:
    """The events of a hall at one moment."""

    waiting: int
    """How many aren't delivered, those of earlier halls included."""
    delivered: int
    """How many were delivered so far."""
    omitted: int
    """How many of the kinds `emptied` and `ending` were left out, since too many waited."""
    failing_since: float | None
    """Since when delivering fails, in seconds of the hall's (Trio's) clock; None if it doesn't."""
