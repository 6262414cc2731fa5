"""Messages: what the two processes of a handover say to each other, in this order.

`Newcomers` and `Changes` come again and again, in rounds that become shorter.
"""

from msgspec import Struct

from squire_gatherings._values.handover import (
    FORMAT,
    ConnectionState,
    HallState,
    Newcomer,
    RoomState,
)
from squire_gatherings._values.sleep import Rules, SleeperState


class Hello(Struct, frozen=True, tag="hello"):
    """The new process has understood its options."""

    format: int = FORMAT
    version: str = ""
    events: bool = False
    """Whether it tells lifecycle events."""
    admin: bool = False
    """Whether it wants the sockets of the admin port."""


class Property(Struct, frozen=True, tag="property"):
    """Answers `Hello`, with the descriptors of the store, of the listeners, of the admin port."""

    store: int
    """How many are the store's."""
    admin: int = 0
    """How many are the admin port's."""


class Prepared(Struct, frozen=True, tag="prepared"):
    """Answers `Property`: the new process has the store, and listens."""


class Newcomers(Struct, frozen=True, tag="newcomers"):
    """Connections that will go along, with their descriptors. The old process still has them."""

    connections: list[Newcomer]


class Changes(Struct, frozen=True, tag="changes"):
    """Where the old process is with some of its gatherings, while it goes on."""

    rooms: list[RoomState]
    """Those that have changed since it was told last where they are, or that are new."""
    ended: list[str] = []
    """Gatherings that don't live any more."""
    gone: list[int] = []
    """Connections that don't go along after all."""
    asleep: list[SleeperState] = []
    """As `rooms`, those that sleep."""
    base: Rules | None = None
    """The rules that those of `rooms` were opened with that don't say which."""


class Known(Struct, frozen=True, tag="known"):
    """Answers `Changes`: the new process is there, too."""


class Everything(Struct, frozen=True, tag="everything"):
    """The old process has stopped, and this is where it is: what has changed since."""

    hall: HallState
    changes: Changes
    connections: list[ConnectionState]
    """Those in which something is on its way, or that haven't joined."""


class Ready(Struct, frozen=True, tag="ready"):
    """Answers `Everything`: the new process could go on."""


class Yours(Struct, frozen=True, tag="yours"):
    """Answers `Ready`: all of it is the new process's. The old one never touches it again."""


class Refused(Struct, frozen=True, tag="refused"):
    """The new process can't; says why. The old one goes on."""

    why: str


Message = (
    Hello | Property | Prepared | Newcomers | Changes | Known | Everything | Ready | Yours | Refused
)
