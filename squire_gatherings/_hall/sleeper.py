"""A sleeper: what is left in memory of a gathering that sleeps, in as few bytes as possible."""

from collections.abc import Iterable
from typing import ClassVar, Protocol

from msgspec import Struct

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.lifetime import GivenRules
from squire_gatherings._hall.room import Room
from squire_gatherings._values.messages import ClientMessage


class Keeper(Protocol):
    """Keeps all sleepers of a hall."""

    def look(self, sleeper: "Sleeper") -> Room:
        """Return a room as it is, to be read only."""
        ...

    def rouse(self, sleeper: "Sleeper") -> Room:
        """Have it take messages: it is restored if there are any."""
        ...

    def gone(self, sleeper: "Sleeper", client: Client) -> None:
        """Note that a client is gone."""
        ...

    def rights_changed(self, sleeper: "Sleeper", client: Client) -> None:
        """Note that a client's rights have ended."""
        ...

    def takes(self, sleeper: "Sleeper", client: Client, message: ClientMessage) -> bool:
        """Process a message for which nobody is roused; return whether it is one."""
        ...

    def arm(self, sleeper: "Sleeper", at: float) -> None:
        """Look at it then."""
        ...

    def disarm(self, sleeper: "Sleeper") -> None:
        """Don't look at it."""
        ...


class Sleeper(Struct, eq=False, gc=False):
    """A gathering that sleeps. It has a room only while somebody looks at it.

    It isn't tracked by the collector of garbage, which saves 32 bytes. So its end must take it out
    of its clients, which refer to it.
    """

    accepting: ClassVar[bool] = False
    opened: ClassVar[bool] = True

    keeper: Keeper
    id: str
    given: GivenRules
    state: bytes
    """A `SleepState`."""
    clients: tuple[Client, ...] = ()
    listed_at: float | None = None
    """As `turnstile.Waiting` has it."""

    def __repr__(self) -> str:
        return f"Sleeper({self.id!r})"

    @property
    def room(self) -> Room:
        """The room as it is, made anew each time; to be read only."""
        return self.keeper.look(self)

    def rouse(self) -> Room:
        """Have it take messages: it is restored if there are any."""
        return self.keeper.rouse(self)

    def people(self) -> Iterable[Client]:
        """Return its clients."""
        return self.clients

    def gone(self, client: Client) -> None:
        """Note that a client is gone: its connection has closed, or was given up."""
        self.keeper.gone(self, client)

    def rights_changed(self, client: Client) -> None:
        """Note that a client's rights have ended."""
        self.keeper.rights_changed(self, client)

    def takes(self, client: Client, message: ClientMessage) -> bool:
        """Process a message for which it isn't roused; return whether it is one."""
        return self.keeper.takes(self, client, message)

    # As the turnstile sees it.

    @property
    def waits(self) -> bool:
        """It has nothing else to do."""
        return True

    @property
    def weight(self) -> int:
        """What its end costs."""
        return 1 + len(self.clients) // 2

    @property
    def wakes_at(self) -> float:
        """When it is due. Whatever moves that lists it anew."""
        assert self.listed_at is not None
        return self.listed_at

    def arm(self, at: float) -> None:
        """Be looked at then."""
        self.keeper.arm(self, at)

    def disarm(self) -> None:
        """Don't be looked at."""
        self.keeper.disarm(self)
