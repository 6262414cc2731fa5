"""Shapes: what the page asks of the live stream, and what it is told.

Instants are in seconds of the hall's clock, which never jumps: each piece of news says what that
clock and the time of day show. They are rounded to the millisecond; null is for never.
"""

import math
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from squire_gatherings._admin.api.end_shapes import End, Here, Rules
from squire_gatherings._admin.api.shapes import GATHERING_ID, Member, Nodes, StageName, Taken
from squire_gatherings._hall.board import MOST, Line, View
from squire_gatherings._values.numbers import Stage

MOST_ROWS = 200
"""How many rows a viewer sees at once: more than any screen has."""

SortName = Literal["id", "deadline", "clients", "seq", "opened", "processed", "quiet", "rate"]


class Asked(Taken, kw_only=True):
    """What a viewer wants to see."""

    number: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """The viewer's own number of this; what answers it bears it, too."""
    search: Annotated[str, Meta(max_length=128)] = ""
    stage: StageName | None = None
    min_clients: Annotated[int, Meta(ge=0, le=2**31)] = 0
    sort: SortName = "deadline"
    descending: bool = False
    offset: Annotated[int, Meta(ge=0, le=MOST)] = 0
    """How many rows come before the first one that is seen."""
    count: Annotated[int, Meta(ge=0, le=MOST_ROWS)] = 0
    gathering: Annotated[str, Meta(pattern=GATHERING_ID)] | None = None
    """The one that is looked at closely."""

    @property
    def view(self) -> View:
        """The list that the rows are of."""
        return View(
            search=self.search,
            stage=None if self.stage is None else Stage(self.stage),
            min_clients=self.min_clients,
            sort=self.sort,
            descending=self.descending,
        )


class Hello(Struct, kw_only=True):
    """The first thing that a viewer is told."""

    viewer: str
    """Under which id it says what it wants to see."""
    version: str
    started_at: float
    store: str
    most: int = MOST
    """How far down the list can be seen."""


class Row(Struct, kw_only=True, frozen=True):
    """A gathering on the list."""

    id: str
    incarnation: str
    stage: str
    clients: int
    rate: float
    processed: int
    seq: int
    opened: float
    last: float
    """When it processed a message last."""
    at: float | None
    """When it ends."""
    rule: str | None
    held: bool


class Order(Struct, kw_only=True, frozen=True):
    """The part of the list that is seen."""

    offset: int
    ids: tuple[str, ...]
    matched: int


class HallNow(Struct, kw_only=True, frozen=True):
    """The hall as a whole."""

    open: int
    opening: int
    asleep: int
    ending: int
    clients: int
    messages: int
    opened: int
    ended: int
    closing: bool


class Moved(Struct, kw_only=True, frozen=True):
    """What moved a deadline last."""

    what: str
    by: str | None
    at: float


class Why(Struct, kw_only=True, frozen=True):
    """Why a gathering is alive."""

    at: float | None
    rule: str | None
    ends: dict[str, float]
    held_until: float | None
    warns_at: float | None
    warned: bool
    rules: Rules
    moved: Moved


class Close(Struct, kw_only=True, frozen=True):
    """The one that is looked at closely."""

    id: str
    row: Row | None
    """None where it isn't in memory."""
    why: Why | None
    """None where it isn't open."""
    members: tuple[Member, ...]
    """The first ones."""
    end: End | None
    """How it ended last, if it isn't in memory and that is remembered."""
    sleep_after: float | None
    """So many seconds after a message that counts it falls asleep, if it does."""
    here: Here | None = None
    """Who is shown as being here, where that may be."""


class News(Struct, kw_only=True, omit_defaults=True):
    """What a viewer doesn't know yet."""

    now: float
    """What the hall's clock shows."""
    wall: float
    """What the hall's wall clock shows."""
    number: int
    """What was asked for last, when this was found out."""
    hall: HallNow | UnsetType = UNSET
    order: Order | UnsetType = UNSET
    rows: tuple[Row, ...] = ()
    """Of the part that is seen: those that have changed, or are new."""
    close: Close | UnsetType = UNSET
    ends: tuple[End, ...] = ()
    """The oldest first."""
    missed: int = 0
    """How many ends aren't told, since there were too many."""
    nodes: Nodes | UnsetType = UNSET
    """The nodes that form the hall, if there are several."""


def instant(at: float) -> float | None:
    """Return an instant as it is told."""
    return None if math.isinf(at) else round(at, 3)


def row_of(line: Line) -> Row:
    """Return a line as it is told."""
    return Row(
        id=line.gathering,
        incarnation=line.incarnation,
        stage=str(line.stage),
        clients=line.clients,
        rate=round(line.rate, 1),
        processed=line.processed,
        seq=line.seq,
        opened=round(line.opened_at, 3),
        last=round(line.last_processed_at, 3),
        at=instant(line.deadline),
        rule=line.rule,
        held=line.is_held,
    )
