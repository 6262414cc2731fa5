"""The tally: what a hall and its ways in count for operators, as plain numbers.

To count is to add to an attribute. What happens with each message is counted by the turn, by the
batch or by the commit, so that all of it costs less than a hundredth of a message
(`python -m benchmarks.counting`). Nobody looks at the sums until somebody asks.
"""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from squire_gatherings._rules.histogram import LIFETIMES, Histogram, PowerHistogram
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.numbers import Ended, Stage

LAST = 1000
"""How many ends are remembered."""


@define(eq=False)
class Tally:
    """The sums of one hall, since it was opened."""

    # Gatherings.
    stages: dict[Stage, int] = field(factory=lambda: dict.fromkeys(Stage, 0))
    """How many are how far now."""
    restores: Histogram = field(factory=Histogram)
    """Seconds that restores took."""
    restored_ops: PowerHistogram = field(factory=PowerHistogram)
    """How many ops each restore folded."""
    failed_restores: int = 0
    lateness: Histogram = field(factory=Histogram)
    """Of ends by a rule: seconds from the deadline to the notices."""
    lifetimes: Histogram = field(factory=lambda: Histogram(LIFETIMES))
    """Seconds from the restore to the end."""
    notices: Counter[str] = field(factory=Counter)
    """Last notices to clients, by what became of each."""
    last: deque[Ended] = field(factory=lambda: deque(maxlen=LAST))
    """The last ends; the newest comes last."""

    # Messages.
    messages: int = 0
    """How many were processed."""
    synced: int = 0
    """How many syncs are durable in logs."""
    syncs: Counter[str] = field(factory=Counter)
    """All other syncs, by what became of them."""
    forwards: int = 0
    """How many ops were forwarded: each counts once for each client."""
    retries: int = 0
    """How many messages were sent again."""
    joins: Counter[tuple[str, str]] = field(factory=Counter)
    """Joins by their kind (`new`, `since`, `resume`), and what became of them."""
    commits: Histogram = field(factory=Histogram)
    """Seconds that commits took which had to be waited for."""
    committed: Counter[int] = field(factory=Counter)
    """How many commits had so many ops."""
    failed_commits: int = 0
    """How many commits the store couldn't make, so that they were tried again."""

    # Other nodes.
    taken_away: int = 0
    """How many gatherings another node turned out to have: what was appended here was refused."""
    routed: Counter[str] = field(factory=Counter)
    """Where clients were brought once their requests had come, where there are several processes:
    `here`, `passed_on`, `redirected`, `relayed`, `turned_away`."""
    between: int = 0
    """For how many clients this process stays in between now."""

    # Connections.
    connections: int = 0
    """How many were let in: their handshakes were good."""
    closes: Counter[int] = field(factory=Counter)
    """How many have ended, by close code; 1006 is for those that broke off."""
    round_trips: Histogram = field(factory=Histogram)
    """Seconds from a ping to its pong."""

    @property
    def at_once(self) -> int:
        """How many commits were durable at once: all but those that had to be waited for."""
        return self.committed.total() - sum(self.commits.counts)

    @contextmanager
    def join(self, kind: str) -> Iterator[None]:
        """Count what becomes of a join within the block."""
        try:
            yield
        except GatheringsError as error:
            self.joins[kind, error.code] += 1
            raise
        self.joins[kind, "joined"] += 1

    def ended(self, end: Ended) -> None:
        """Note how a gathering ended."""
        self.last.append(end)
        self.lifetimes.add(end.lifetime)
        if end.lateness is not None:
            self.lateness.add(end.lateness)
