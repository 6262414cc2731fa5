"""The tally: what a hall and its ways in count for operators, as plain numbers.

To count is to add to an attribute. What happens with each message is counted by the turn, by the
batch or by the commit, so that all of it costs a hundredth of a message (`benchmarks.counting`).
Nobody looks at the sums until somebody asks.
"""

from collections import Counter, deque

from attrs import define, field

from squire_gatherings._rules.histogram import COUNTS, Histogram
from squire_gatherings._values.numbers import Ending, Stage

LAST = 1000
"""How many ends are remembered."""


@define(eq=False)
class Tally:
    """The sums of one hall, since it was opened."""

    # Gatherings.
    stages: dict[Stage, int] = field(factory=lambda: dict.fromkeys(Stage, 0))
    """How many are how far now."""
    failed: int = 0
    """How many couldn't be restored."""
    lateness: Histogram = field(factory=Histogram)
    """Of ends by a rule: seconds from the deadline to the notices."""
    lifetimes: Histogram = field(
        factory=lambda: Histogram((1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0))
    )
    """Seconds from the restore to the end."""
    notices: Counter[str] = field(factory=Counter)
    """Last notices to clients, by what became of each."""
    restores: Histogram = field(factory=Histogram)
    """Seconds that restores took."""
    restored_ops: Histogram = field(factory=lambda: Histogram((0.0, *COUNTS)))
    """How many ops each restore folded."""
    last: deque[Ending] = field(factory=lambda: deque(maxlen=LAST))
    """The last ends; the newest comes last."""

    # Messages.
    messages: int = 0
    """How many were processed."""
    syncs: Counter[str] = field(factory=Counter)
    """Syncs by outcome, but for those that were applied."""
    synced: int = 0
    """How many syncs were applied."""
    forwards: int = 0
    """How many ops were forwarded: each counts once for each client."""
    retries: int = 0
    """How many messages were sent again."""
    joins: Counter[str] = field(factory=Counter)
    """Joins by what became of them."""
    commits: Histogram = field(factory=Histogram)
    """Seconds that commits took which had to be waited for."""
    at_once: int = 0
    """How many commits were durable at once."""
    committed_ops: Histogram = field(factory=lambda: Histogram(COUNTS))
    """How many ops each commit had."""
    commit_failures: int = 0
    """How many commits failed, and were tried again."""

    # Connections.
    connections: int = 0
    """How many were accepted."""
    closes: Counter[int] = field(factory=Counter)
    """How many were closed, by close code; 1006 is for those that broke off."""
    round_trips: Histogram = field(factory=Histogram)
    """Seconds from a ping to its pong."""
