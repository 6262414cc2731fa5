"""Messages: what the two processes of a handover say to each other, in this order."""

from msgspec import Struct

from squire_gatherings._values.handover import (
    FORMAT,
    ConnectionState,
    HallState,
    Newcomer,
    RoomState,
)


class Hello(Struct, frozen=True, tag="hello"):
    """The new process has understood its options."""

    format: int = FORMAT
    version: str = ""


class Property(Struct, frozen=True, tag="property"):
    """Answers `Hello`, with the descriptors of the store, and those of the listeners after them."""

    store: int
    """How many are the store's."""


class Prepared(Struct, frozen=True, tag="prepared"):
    """Answers `Property`: the new process has the store, and listens."""


class Newcomers(Struct, frozen=True, tag="newcomers"):
    """Connections that will go along, with their descriptors. The old process still has them."""

    connections: list[Newcomer]


class Everything(Struct, frozen=True, tag="everything"):
    """The old process has stopped, and this is where it is."""

    hall: HallState
    rooms: list[RoomState]
    connections: list[ConnectionState]


class Ready(Struct, frozen=True, tag="ready"):
    """Answers `Everything`: the new process could go on."""


class Yours(Struct, frozen=True, tag="yours"):
    """Answers `Ready`: all of it is the new process's. The old one never touches it again."""


class Refused(Struct, frozen=True, tag="refused"):
    """The new process can't; says why. The old one goes on."""

    why: str


Message = Hello | Property | Prepared | Newcomers | Everything | Ready | Yours | Refused
