"""End rules: when a gathering ends by itself, what is told of that, and of who moved it."""

import math
from collections.abc import Mapping
from typing import Any, TypedDict

import attrs
from attrs import field, frozen

from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import BadSetting
from squire_gatherings._values.settings import (
    HallSettings,
    count,
    limited,
    not_negative,
    number,
    positive,
)

_optional = attrs.validators.optional


def _instant(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not number(value):
        raise BadSetting(f"{attribute.name} must be a time in seconds, not {value!r:.80}")


@frozen(kw_only=True)
class EndRules:
    """When a gathering ends by itself. Of several rules, the one whose end comes first ends it.

    Times are in seconds, instants are as `time.time()` counts them, and None switches a rule off.
    """

    idle_timeout: float = field(default=24 * 60 * 60.0, validator=positive)
    """It ends when no message was processed for so long (`idle`)."""

    empty_timeout: float | None = field(default=None, validator=_optional(not_negative))
    """It ends when nobody was connected for so long (`empty`)."""

    unjoined_timeout: float | None = field(default=None, validator=_optional(not_negative))
    """It ends when nobody has joined it for so long after the opening (`unjoined`)."""

    alone_timeout: float | None = field(default=None, validator=_optional(not_negative))
    """It ends when at most `alone_clients` were connected, and no message was processed, for so
    long (`alone`)."""

    alone_clients: int = field(default=1, validator=count)
    """How many clients count as alone."""

    max_age: float | None = field(default=None, validator=_optional(positive))
    """It ends so long after its opening (`max_age`)."""

    ends_at: float | None = field(default=None, validator=_optional(_instant))
    """It ends at this instant of the wall clock (`ends_at`)."""

    hold_until: float | None = field(default=None, validator=_optional(_instant))
    """No rule ends it before this instant of the wall clock."""

    warn_before: float | None = field(default=None, validator=_optional(limited))
    """Its clients are warned (`ending`) so long before its end.

    A rule that has no more time than this itself gives no warning.
    """

    is_plain: bool = field(init=False, repr=False, eq=False)
    """Whether there's nothing but `idle_timeout` and `empty_timeout`."""

    is_by_wall: bool = field(init=False, repr=False, eq=False)
    """Whether the wall clock decides on something."""

    def __attrs_post_init__(self) -> None:
        by_wall = self.ends_at is not None or self.hold_until is not None
        others = (self.unjoined_timeout, self.alone_timeout, self.max_age, self.warn_before)
        object.__setattr__(self, "is_by_wall", by_wall)
        object.__setattr__(self, "is_plain", not by_wall and others == (None,) * 4)


class EndRuleOptions(TypedDict, total=False):
    """The fields of `EndRules` as keyword arguments."""

    idle_timeout: float
    empty_timeout: float | None
    unjoined_timeout: float | None
    alone_timeout: float | None
    alone_clients: int
    max_age: float | None
    ends_at: float | None
    hold_until: float | None
    warn_before: float | None


def fields_of(rules: EndRules) -> dict[str, float | int | None]:
    """Return rules as they are told to a store, or to another process."""
    return attrs.asdict(rules, filter=lambda attribute, _: attribute.init)


def rules_with(fields: Mapping[str, float | int | None]) -> EndRules:
    """Return the rules of which somebody has told these fields."""
    return EndRules(**fields)  # type: ignore[arg-type]


def rules_of(settings: HallSettings) -> EndRules:
    """Return the rules that the settings of a hall give all its gatherings."""
    return EndRules(
        idle_timeout=settings.idle_timeout,
        empty_timeout=settings.empty_timeout,
        unjoined_timeout=settings.unjoined_timeout,
        alone_timeout=settings.alone_timeout,
        alone_clients=settings.alone_clients,
        max_age=settings.max_age,
        warn_before=settings.warn_before,
    )


@frozen
class Moved:
    """What moved a gathering's deadline last."""

    what: str
    """A message that counted: `join`, `sync`, `fetch`, `ack`, `leave`. Or `opened`, `left` (a
    client has gone), `returned` (one came back by itself), `behaviour`, `open`, `hold`, `extend`,
    `change_rules`."""
    by: str | None
    """The user whose message it was, or who has gone; what a call said with `by`."""
    at: float
    """When, in seconds of the hall's (Trio's) clock."""


@frozen(kw_only=True)
class Explanation:
    """Why a gathering is alive, and when it ends. Times are seconds of the hall's (Trio's) clock.

    To ask for it is no activity.
    """

    gathering: str
    incarnation: str
    now: float
    wall_now: float
    """The same moment by the wall clock, as `time.time()` counts."""
    opened_at: float
    last_processed_at: float
    """When a message that counts was processed last."""
    clients: int
    """How many are connected."""
    deadline: float
    """When it ends, as things stand; infinity for never."""
    rule: DispersalReason | None
    """The rule that ends it then; None where none does."""
    ends: dict[DispersalReason, float]
    """When each rule would end it, of those that run now."""
    held_until: float | None
    """Until when it is held beyond the end that `rule` would have, if it is."""
    warns_at: float | None
    """When its clients are warned next, if they are."""
    warned: bool
    """Whether they have been told of an end that still stands."""
    rules: EndRules
    moved: Moved
    """What moved the deadline last."""

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return max(0.0, self.deadline - self.now)

    @property
    def ends_at(self) -> float | None:
        """The deadline by the wall clock, to the millisecond; None for never."""
        left = self.deadline - self.now
        return None if math.isinf(left) else round(self.wall_now + left, 3)
