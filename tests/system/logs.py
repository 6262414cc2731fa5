"""Logs: what is durable of each gathering, also where a log was deleted, copied or cut short."""

from collections import defaultdict
from typing import Any

from attrs import define, evolve, field

Key = tuple[str, str, str]
"""A gathering, the author of a sync, and the sync's id."""


@define
class Logged:
    """An op that is durable."""

    op: dict[str, Any]
    by: str | None
    epoch: str
    time: int
    """Milliseconds since 1970."""
    sync: tuple[int, int, str] | None = field(default=None, eq=False)
    """The sync that it came from: its first seq, how many ops it has, and its id."""


@define(eq=False)
class Log:
    """One log, from its beginning: also the ops that compaction has left out."""

    ops: list[Logged] = field(factory=list)
    first_seq: int = 1
    """The first op that compaction hasn't left out."""
    places: dict[str, int] = field(factory=dict)
    """The seq of each op by its key."""
    answered: dict[Key, tuple[tuple[int, ...], tuple[str, ...]]] = field(factory=dict)
    """The seqs and keys of every sync that was reported durable."""
    last_of: dict[str, int] = field(factory=dict)
    """The number of each author's last op."""

    def keys(self, up_to: int) -> list[str]:
        """Return the keys of the ops up to a seq."""
        return [one.op["k"] for one in self.ops[:up_to]]

    def has(self, seqs: tuple[int, ...], keys: tuple[str, ...]) -> bool:
        """Whether the ops with these keys are there under these seqs."""
        there = self.ops[seqs[0] - 1 : seqs[-1]]
        return [one.op["k"] for one in there] == list(keys)

    def copy(self, up_to: int) -> "Log":
        """Return a log that has the ops up to a seq, as a fork or an import has."""
        ops = [
            # A sync that is cut wasn't applied there.
            evolve(one, sync=None) if one.sync and sum(one.sync[:2]) - 1 > up_to else one
            for one in self.ops[:up_to]
        ]
        return Log(ops, self.first_seq, {one.op["k"]: n for n, one in enumerate(ops, start=1)})

    def cut_short(self, first_seq: int, *, forget_syncs: bool) -> None:
        """Note that the ops before `first_seq` were left out."""
        self.first_seq = first_seq
        if forget_syncs:
            for key in self.keys(first_seq - 1):
                self.places.pop(key, None)
            for sync, (seqs, _) in tuple(self.answered.items()):
                if seqs[-1] < first_seq:
                    del self.answered[sync]


@define(eq=False)
class Logs:
    """All logs that there are, and those that were there before."""

    now: defaultdict[str, Log] = field(factory=lambda: defaultdict(Log))
    before: defaultdict[str, list[Log]] = field(factory=lambda: defaultdict(list))
    """Those that others replaced, by gathering."""

    def replace(self, gathering: str, log: Log) -> None:
        """Note that the gathering has another log now."""
        if self.now[gathering].ops or log.ops:
            self.before[gathering].append(self.now[gathering])
        self.now[gathering] = log

    def all_of(self, gathering: str) -> list[Log]:
        """Return the gathering's log, and those that it had before."""
        return [self.now[gathering], *self.before[gathering]]

    def with_ops(self, first_seq: int, ops: list[Logged]) -> Log | None:
        """Return a log that has these ops, of all that ever were."""
        for gathering in tuple(self.now):
            for log in self.all_of(gathering):
                if log.ops[first_seq - 1 : first_seq - 1 + len(ops)] == ops:
                    return log
        return None
