"""Settings of a hall and its gatherings, with the server's defaults.

Times are in seconds and sizes in bytes; None switches a limit off.
"""

import math
from typing import Any, Literal, TypedDict

import attrs
from attrs import field, frozen

from squire_gatherings._values.errors import BadSetting


def number(value: Any) -> bool:
    """Return whether a value is a number, infinity included."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:
        # A whole number that no float can be.
        return False


def positive(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check that a setting is a number above 0; infinity is allowed. An `attrs` validator."""
    if not number(value) or value <= 0:
        raise BadSetting(f"{attribute.name} must be a number above 0, not {value!r}")


def limited(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check that a setting is a number above 0, and not infinite. An `attrs` validator."""
    positive(_, attribute, value)
    if value == math.inf:
        raise BadSetting(f"{attribute.name} can't be infinite")


def not_negative(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check that a setting is a number from 0 on; infinity is allowed. An `attrs` validator."""
    if not number(value) or value < 0:
        raise BadSetting(f"{attribute.name} must be a number from 0 on, not {value!r}")


MOST = 2**53 - 1
"""The largest whole number that a setting may be: all clients and stores can hold it."""


def count(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Check that a setting is a whole number from 1 to `MOST`. An `attrs` validator."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadSetting(f"{attribute.name} must be a whole number from 1 on, not {value!r}")
    if value > MOST:
        raise BadSetting(f"{attribute.name} must be at most {MOST}")


def count_or_off(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """An `attrs` validator: None, or a whole number from 1 to `MOST`."""
    if value is not None:
        count(_, attribute, value)


def _refuse_or_stalest(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value not in ("refuse", "stalest"):
        raise BadSetting(f"{attribute.name} must be 'refuse' or 'stalest', not {value!r:.80}")


def _switch(_: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        raise BadSetting(f"{attribute.name} must be True or False, not {value!r:.80}")


@frozen(kw_only=True)
class HallSettings:
    """How the gatherings of a hall live, deliver and end."""

    idle_timeout: float = field(default=24 * 60 * 60.0, validator=positive)
    """Seconds without a processed message after which a gathering disperses."""

    empty_timeout: float | None = field(
        default=None, validator=attrs.validators.optional(not_negative)
    )
    """Seconds without a connection after which a gathering disperses, if that is sooner."""

    unjoined_timeout: float | None = field(
        default=None, validator=attrs.validators.optional(not_negative)
    )
    """Seconds after which a gathering disperses that nobody has joined since its opening."""

    alone_timeout: float | None = field(
        default=None, validator=attrs.validators.optional(not_negative)
    )
    """Seconds with at most `alone_clients` connections, and without a processed message, after
    which a gathering disperses."""

    alone_clients: int = field(default=1, validator=count)
    """How many clients count as alone."""

    max_age: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """Seconds after its opening at which a gathering disperses, however busy it is."""

    warn_before: float | None = field(default=None, validator=attrs.validators.optional(limited))
    """Seconds before its end at which a gathering's clients are warned (`ending`)."""

    sleep_after: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """Seconds without a processed message after which a gathering falls asleep: it leaves its task
    and its state, and keeps its id, its deadline and its connections. A message wakes it."""

    close_grace: float = field(default=5.0, validator=not_negative)
    """Seconds that the close notice may take."""

    authenticate_timeout: float = field(default=120.0, validator=positive)
    """Seconds that a program's `authenticate` may take."""

    renew_before: float = field(default=60.0, validator=positive)
    """How many seconds before its rights end a client is asked to renew them.

    Where they last less than ten times as long, it is a tenth of that.
    """

    rights_grace: float = field(default=10.0, validator=not_negative)
    """Seconds after the end of its rights at which a client is closed, unless it renews them."""

    max_remembered: int = field(default=65_536, validator=count)
    """How many revocations and roles that a program has changed are remembered at a time."""

    retry_interval: float = field(default=0.25, validator=positive)
    """Seconds after which a forward that wasn't acknowledged is sent again; doubles each time."""

    retry_limit: float = field(default=10.0, validator=positive)
    """Seconds without progress after which a client is closed as unresponsive."""

    commit_retry_interval: float = field(default=0.5, validator=positive)
    """Seconds between attempts to commit while the store is unavailable."""

    batch_bytes: int = field(default=256 * 1024, validator=count)
    """How many bytes one answer, forward or read from the store may carry, as encoded in JSON.

    At least one op is always carried, however large; a snapshot is carried whole.
    """

    tail_bytes: int = field(default=256 * 1024, validator=count)
    """How many bytes of memory recent ops may take, about; older ones are in the store."""

    recent_syncs: int = field(default=256, validator=count)
    """How many recent sync ids a gathering keeps in memory; older ones are in the store."""

    snapshot_every: int = field(default=1000, validator=count)
    """How many ops after the last snapshot the next one is written."""

    snapshot_bytes: int = field(default=4 * 1024 * 1024, validator=count)
    """How many bytes of ops after the last snapshot the next one is written, if sooner."""

    inbox_limit: int = field(default=64, validator=count)
    """How many messages of one client may wait unprocessed before its reader waits too.

    What a message began (a fetch from the store) counts until it is answered.
    """

    inbox_bytes: int = field(default=512 * 1024, validator=count)
    """How many bytes of memory the waiting messages of one client may take, about.

    One message is always taken.
    """

    max_ops: int = field(default=1000, validator=count)
    """How many ops a sync may have."""

    max_log_ops: int | None = field(default=None, validator=count_or_off)
    """How many ops a log may have. A sync that would make them more is refused (`log_full`)."""

    max_log: int | None = field(default=None, validator=count_or_off)
    """How many bytes the ops of a log may have, each as its JSON. A sync that would make them more
    is refused (`log_full`)."""

    max_connections_per_user: int | None = field(default=1000, validator=count_or_off)
    """How many connections of a user may be in gatherings at once; of anonymous ones, any number.

    One that takes the place of an older one of the same `client` is no more than that.
    """

    max_connections_per_gathering: int | None = field(default=10_000, validator=count_or_off)
    """How many connections may be in one gathering."""

    max_gatherings: int | None = field(default=100_000, validator=count_or_off)
    """How many gatherings may be open at once."""

    max_gatherings_per_user: int | None = field(default=10_000, validator=count_or_off)
    """How many of them a user may have opened; or an address, by its anonymous clients."""

    when_full: Literal["refuse", "stalest"] = field(default="refuse", validator=_refuse_or_stalest)
    """What happens where one more is to be opened than `max_gatherings`.

    It is refused; or the one disperses (`evicted`) to which nobody has been connected for longest.
    One to which somebody is connected never gives way.
    """

    presence: bool = field(default=False, validator=_switch)
    """Whether clients that ask for it are told who is here (see docs/presence.md)."""

    presence_interval: float = field(default=0.25, validator=limited)
    """Seconds between two messages that tell it, at least. They are more in a large crowd."""

    presence_users: int = field(default=100, validator=count)
    """How many users are shown; of more than that, only their number."""

    presence_bytes: int = field(default=1024, validator=count)
    """How many bytes the state of one user may have, as JSON."""

    presence_grace: float = field(default=10.0, validator=not_negative)
    """Seconds for which a user is shown whose connection was lost, and may come back."""

    max_events: int = field(default=1_000_000, validator=count)
    """How many lifecycle events may wait to be delivered (see docs/events.md). With more, no
    gathering is opened. Three places are kept for each that is open."""

    max_memory: int | None = field(default=None, validator=count_or_off)
    """How many bytes the hall and its ways in may hold, as far as they are counted (see
    docs/security.md): from 80 % on no connection is taken, from 90 % on no gathering is opened,
    and over it the clients that hold most are closed."""

    max_outbound: int | None = field(default=None, validator=count_or_off)
    """How many bytes may wait for all slow readers together."""


class HallOptions(TypedDict, total=False):
    """The fields of `HallSettings` as keyword arguments, so that a misspelt one is a type error."""

    idle_timeout: float
    empty_timeout: float | None
    unjoined_timeout: float | None
    alone_timeout: float | None
    alone_clients: int
    max_age: float | None
    warn_before: float | None
    sleep_after: float | None
    close_grace: float
    authenticate_timeout: float
    renew_before: float
    rights_grace: float
    max_remembered: int
    retry_interval: float
    retry_limit: float
    commit_retry_interval: float
    batch_bytes: int
    tail_bytes: int
    recent_syncs: int
    snapshot_every: int
    snapshot_bytes: int
    inbox_limit: int
    inbox_bytes: int
    max_ops: int
    max_log_ops: int | None
    max_log: int | None
    max_connections_per_user: int | None
    max_connections_per_gathering: int | None
    max_gatherings: int | None
    max_gatherings_per_user: int | None
    when_full: Literal["refuse", "stalest"]
    presence: bool
    presence_interval: float
    presence_users: int
    presence_bytes: int
    presence_grace: float
    max_events: int
    max_memory: int | None
    max_outbound: int | None
