"""Unfolded: what this process knows to be in the journal, and not in the tables yet."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from squire_gatherings._values.log import Append

SyncKey = tuple[str, str, str]
"""Gathering, scope and id."""


@define(eq=False)
class Unfolded:
    """The appends of the journal's entries, from some entry on.

    Only the writer's thread changes it, after each commit. Another thread that looks
    meanwhile sees the commit or not, and finds in the file what it didn't see: whoever reads
    takes `last` first, then the appends, then looks into the file.
    """

    last: int = 0
    """The number of the last entry known; those after it must be read from the file."""
    older: Unfolded | None = None
    """What came before it, while that is being folded piece by piece."""
    remaining: list[str] = field(factory=list)
    """While this is being folded: the gatherings whose turn hasn't come."""
    size: int = 0
    """In bytes, about; with that of what is older."""
    count: int = 0
    """How many appends there are, likewise."""
    appends: dict[str, list[Append]] = field(factory=dict)
    _syncs: set[SyncKey] = field(factory=set)

    @property
    def gatherings(self) -> int:
        """How many gatherings' appends there are, at least."""
        older = 0 if self.older is None else len(self.older.appends)
        return max(older, len(self.appends))

    def note(self, number: int, size: int, appends: Sequence[Append]) -> None:
        """An entry has been committed."""
        for append in appends:
            self.appends.setdefault(append.gathering, []).append(append)
            self._syncs.update((append.gathering, s.scope, s.id) for s in append.syncs)
        self.size += size
        self.count += len(appends)
        self.last = number

    def of(self, gathering: str) -> tuple[int, tuple[Append, ...]]:
        """Return `last`, and the appends of one gathering up to there, or some more.

        Those that have been folded meanwhile are in the tables, too.
        """
        last, older = self.last, self.older
        before = () if older is None else older.appends.get(gathering, ())
        return last, (*before, *self.appends.get(gathering, ()))

    def has_any(self, syncs: set[SyncKey]) -> bool:
        """Whether any of these is here."""
        if not syncs.isdisjoint(self._syncs):
            return True
        return self.older is not None and self.older.has_any(syncs)

    def begin_folding(self, order: Sequence[str]) -> Unfolded:
        """Return what takes the next entries, while this is folded in the reverse of an order."""
        self.remaining = list(order)
        return Unfolded(self.last, self, size=self.size, count=self.count)

    def next_piece(self, rows: int) -> dict[str, list[Append]]:
        """Take gatherings with about so many ops and syncs off those that remain."""
        piece: dict[str, list[Append]] = {}
        while self.remaining and rows > 0:
            gathering = self.remaining.pop()
            piece[gathering] = self.appends[gathering]
            rows -= sum(len(append.ops) + len(append.syncs) for append in piece[gathering])
        return piece

    def end_folding(self) -> None:
        """What is older is in the tables: those who have looked at it find it there."""
        assert self.older is not None
        self.size -= self.older.size
        self.count -= self.older.count
        self.older = None

    def everything(self) -> dict[str, list[Append]]:
        """Return all appends that aren't in the tables."""
        if self.older is None:
            return self.appends
        everything = {one: list(self.older.appends[one]) for one in self.older.remaining}
        for gathering, appends in self.appends.items():
            everything.setdefault(gathering, []).extend(appends)
        return everything
