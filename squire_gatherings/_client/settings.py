"""Settings of the client. Times are in seconds, sizes in bytes."""

from typing import TypedDict

import attrs
from attrs import field, frozen

from squire_gatherings._values.settings import count, limited, not_negative, positive


@frozen(kw_only=True)
class ClientSettings:
    """How a client connects, and how it behaves while it is connected."""

    connect_timeout: float = field(default=10.0, validator=positive)
    """How long one attempt may take, until the server has let us in."""

    first_pause: float = field(default=0.1, validator=positive)
    """The longest pause before the first new attempt after a lost connection; doubles.

    Each pause is a random part of that, so that clients that were lost together don't
    come back together ("full jitter": Brooker, Exponential Backoff And Jitter, 2015).
    """

    max_pause: float = field(default=30.0, validator=positive)
    """The longest pause before any attempt."""

    join_patience: float = field(default=0.0, validator=not_negative)
    """How many seconds the first join of a gathering is tried again; 0: one attempt."""

    patience: float | None = field(default=None, validator=attrs.validators.optional(positive))
    """How long an outage may last before the client gives up; None: for ever."""

    ping_interval: float = field(default=20.0, validator=positive)
    """How often the server is pinged; the connection is lost if it takes as long to answer."""

    ack_delay: float = field(default=0.1, validator=not_negative)
    """How long an acknowledgement waits for more to acknowledge."""

    repeat_interval: float = field(default=0.5, validator=positive)
    """How long a sync that the server can't take now waits until it is sent again."""

    presence_interval: float = field(default=0.25, validator=limited)
    """How often the state of our presence is sent at most, however often it changes."""

    close_timeout: float = field(default=5.0, validator=not_negative)
    """How long saying goodbye may take."""

    max_message_size: int = field(default=64 * 1024 * 1024, validator=count)
    """The largest message that the server may send; a snapshot is one message."""

    max_changes: int = field(default=16 * 1024 * 1024, validator=count)
    """How many bytes of changes wait for the loop that reads them; more are fetched again later."""


class ClientOptions(TypedDict, total=False):
    """The fields of `ClientSettings` as keyword arguments: a misspelt one is a type error."""

    connect_timeout: float
    first_pause: float
    max_pause: float
    join_patience: float
    patience: float | None
    ping_interval: float
    ack_delay: float
    repeat_interval: float
    presence_interval: float
    close_timeout: float
    max_message_size: int
    max_changes: int
