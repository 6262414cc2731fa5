"""Troubles: what may be wrong with a store, for which of its calls, and how often."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from attrs import define, field

from squire_gatherings._values.errors import StoreUnavailable

Trouble = Literal["none", "slow", "waits", "busy", "full", "torn", "broken", "broken torn", "hangs"]
"""What is wrong with a call of a store.

"slow" takes its time and succeeds. "waits" is the same, for appends that the caller has to wait
for. "busy" fails after its time, "full" at once, and nothing is done: `StoreUnavailable`. "torn" is
done, and fails all the same: nobody knows what became of it. "broken" and "broken torn" are like
"busy" and "torn", with an error that no store may raise. "hangs" doesn't answer until the trouble
is another one.
"""

Calls = Literal[
    "append", "load", "read", "find_syncs", "size", "sync_ids", "find_head", "snapshot_at",
    "seq_at", "list_logs", "describe", "read_links", "older_syncs", "syncs_of", "end_of_append",
    "has_log", "changes", "delete", "compact", "adopt", "fork", "erase", "sleeping", "write_sleep",
    "begin_events", "write_events", "read_events", "forget_events",
    "enroll", "beat", "resign", "inherit", "claim", "owner_of", "give", "arrived", "settle",
    "reading", "changing", "sleep", "events", "owners", "all",
]  # fmt: skip
"""A method of a store, or several: "reading", "changing" (of whole logs), "sleep", "events",
"owners" (of several nodes), "all".

"append" is both ways to append.
"""

READING = (
    "load", "read", "find_syncs", "size", "sync_ids", "find_head", "snapshot_at", "seq_at",
    "list_logs", "describe", "read_links", "older_syncs", "syncs_of", "end_of_append", "has_log",
    "changes", "read_events",
)  # fmt: skip
CHANGING = ("delete", "compact", "adopt", "fork", "erase")
SLEEP = ("sleeping", "write_sleep")
EVENTS = ("begin_events", "write_events", "read_events", "forget_events")
OWNERS = (
    "enroll", "beat", "resign", "inherit", "claim", "owner_of", "give", "arrived", "settle",
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {
    "reading": READING,
    "changing": CHANGING,
    "sleep": SLEEP,
    "events": EVENTS,
    "owners": OWNERS,
    "all": tuple(dict.fromkeys(("append", *READING, *CHANGING, *SLEEP, *EVENTS, *OWNERS))),
}

FAILS_BEFORE = ("busy", "full", "broken")
FAILS_AFTER = ("torn", "broken torn")
AT_ONCE = ("none", "full")


class StoreBroke(OSError):
    """What a store raises that is broken for good: an error that no store may raise."""


@define(eq=False)
class Ordered:
    """A trouble as it was ordered."""

    what: Trouble = "none"
    seconds: float = 0.0
    left: int | None = None
    """How many calls it still has; None for all that come."""
    after: int = 0
    """How many calls go well before."""
    error: Exception | None = None
    """What is raised instead of the usual."""

    def raised(self) -> Exception:
        """Return the error of a call that fails."""
        if self.error is not None:
            return self.error
        if self.what.startswith("broken"):
            return StoreBroke("it is broken for good")
        if self.what == "torn":
            return StoreUnavailable("nobody knows what became of it")
        return StoreUnavailable("the disk is full" if self.what == "full" else "the store is busy")


WELL = Ordered()


@define(eq=False)
class Troubles:
    """All that is ordered, by method."""

    _ordered: dict[str, Ordered] = field(factory=dict)
    _versions: Counter[str] = field(factory=Counter)

    def version_of(self, method: str) -> int:
        """Return how often its trouble was ordered or cleared."""
        return self._versions[method]

    def order(self, methods: Iterable[str], make: Ordered) -> None:
        """Order a trouble. Each method counts its own calls."""
        for method in methods:
            one = Ordered(make.what, make.seconds, make.left, make.after, make.error)
            self._ordered[method] = one
            self._versions[method] += 1

    def clear(self, methods: Iterable[str]) -> None:
        """Have all be well."""
        for method in methods:
            self._ordered.pop(method, None)
            self._versions[method] += 1

    def of(self, method: str) -> Ordered:
        """Return the trouble of a call that would come now."""
        one = self._ordered.get(method)
        return WELL if one is None or one.after else one

    def take(self, method: str) -> Ordered:
        """Return the trouble of a call that comes now, and count it."""
        one = self._ordered.get(method)
        if one is None:
            return WELL
        if one.after:
            one.after -= 1
            return WELL
        if one.left is not None:
            one.left -= 1
            if one.left <= 0:
                del self._ordered[method]
        return one


def methods_of(calls: Iterable[str]) -> tuple[str, ...]:
    """Return the methods that these are. Raises `ValueError` for one that isn't."""
    found: list[str] = []
    for one in calls:
        if one not in GROUPS and one not in GROUPS["all"]:
            raise ValueError(f"a store has no call {one!r}")
        found += GROUPS.get(one, (one,))
    return tuple(found)
