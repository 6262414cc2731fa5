"""The budget: how many bytes the hall and all ways into it hold, and what they may hold.

It counts what is cheap to count. The part that holds something adds its size to one of the numbers
here when it comes, and takes it away when it goes. Nobody looks at the sum until something grows.
"""

from collections.abc import Callable

from attrs import define

CONNECTION_COST = 16 * 1024
"""How many bytes a connection takes, about, when nothing waits in it."""

GATHERING_COST = 8 * 1024
"""How many bytes an open gathering takes, about, when nothing happens in it."""

SLEEPER_COST = 512
"""How many bytes one takes that sleeps, about."""

NO_CONNECTIONS = 0.8
"""No new connection is taken when this share of the limit is used."""

NO_GATHERINGS = 0.9
"""No further gathering is opened when this share of the limit is used."""

RELIEVED = 0.95
"""Where a limit was passed, so much is freed that this share of it is left."""


@define(eq=False)
class Budget:
    """The one account of a hall. Its numbers are public: to add to one is all that it costs."""

    limit: int | None = None
    """How many bytes may be held; None for no limit."""
    max_outbound: int | None = None
    """How many of them may wait for slow readers."""
    outbound: int = 0
    """Bytes that wait for slow readers."""
    parsers: int = 0
    """Bytes of messages whose rest hasn't come."""
    inboxes: int = 0
    """About how many bytes the messages take that wait for their gatherings."""
    tails: int = 0
    """About how many bytes the ops take that gatherings have in memory."""
    presence: int = 0
    """About how many bytes it takes to know who is here."""
    connections: int = 0
    """How many connections there are, those at the door too."""
    gatherings: int = 0
    """How many gatherings are open, and don't sleep."""
    sleepers: int = 0
    """How many sleep."""
    relieve: Callable[[], None] | None = None
    """Frees something at once, of what slow clients hold."""

    @property
    def used(self) -> int:
        """How many bytes are held, about."""
        return (
            self.outbound
            + self.parsers
            + self.inboxes
            + self.tails
            + self.presence
            + self.connections * CONNECTION_COST
            + self.gatherings * GATHERING_COST
            + self.sleepers * SLEEPER_COST
        )

    @property
    def takes_connections(self) -> bool:
        """Whether there's memory for a new connection."""
        return self.limit is None or self.used < self.limit * NO_CONNECTIONS

    @property
    def opens_gatherings(self) -> bool:
        """Whether there's memory for a gathering that isn't open."""
        return self.limit is None or self.used < self.limit * NO_GATHERINGS

    @property
    def excess(self) -> int:
        """How many bytes are to be freed; 0 while neither limit is passed."""
        excess = 0
        if self.max_outbound is not None and self.outbound > self.max_outbound:
            excess = self.outbound - int(self.max_outbound * RELIEVED)
        if self.limit is not None and (used := self.used) > self.limit:
            excess = max(excess, used - int(self.limit * RELIEVED))
        return excess

    def over(self, share: float) -> int:
        """Return how many bytes are held over a share of the limit; 0 or less for none."""
        return 0 if self.limit is None else self.used - int(self.limit * share)

    def grown(self) -> None:
        """Free something if a limit is passed. Called by what has just grown."""
        if (self.limit is None and self.max_outbound is None) or self.relieve is None:
            return
        if self.excess:
            self.relieve()
