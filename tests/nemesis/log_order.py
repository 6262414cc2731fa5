"""Linearizability of a log, in one pass: what it shows says in which order all was done.

Seqs leave `linearizability.check` nothing to search for. Appends are ordered by their seqs, and
what shows a log of a length lies between two of them. So the order is known but for reads of the
same length, which commute; what remains is whether the instants fit: each operation is given the
earliest one that its invocation and all before it allow, and that may not be after its return.
`test_gathering_log.py` compares the two on random histories.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from attrs import define, field, frozen

from tests.nemesis.history import Append, End, Operation, Read, Sight, resolve


class Contradiction(Exception):
    """No order explains the history; the text says which operations show it."""


def check(history: Iterable[Operation]) -> None:
    """Check a gathering's history, in which all ops of its log were shown to somebody.

    So the last operation should be a read of all that is there. An append that was never answered,
    and of which nobody was shown anything, is taken for not done.

    Raises:
        Contradiction: It isn't linearizable.
    """
    history = resolve(history)
    log = _Log()
    for operation in history:
        log.shown(operation)
    placed = log.place(history)
    ranks = _ranks(placed)
    placed.sort(key=lambda one: one.rank(ranks))
    instants = _instants(placed, ranks)
    for operation in history:
        if isinstance(operation, Sight):
            seq = operation.first + len(operation.ops) - 1
            if instants[seq] > operation.at:
                raise Contradiction(f"{operation} came before seq {seq} can have been there")


Place = tuple[int, bool]
"""A seq, and whether this comes after the append of what has that seq."""


@frozen
class _Placed:
    """An operation, and where it belongs."""

    place: Place
    operation: Append | Read | End

    def rank(self, ranks: dict[str, int]) -> tuple[int, bool, int, bool]:
        """Return what orders operations; those of the same rank commute."""
        name = self.operation.incarnation
        rank = -1 if name is None else ranks[name]
        return *self.place, rank, isinstance(self.operation, End)


@define
class _Log:
    """Which op has which seq, as all who were told anything agree."""

    ops: dict[int, str] = field(factory=dict)
    seqs: dict[str, int] = field(factory=dict)
    witnesses: dict[int, Operation] = field(factory=dict)

    def shown(self, operation: Operation) -> None:
        """Note what an operation shows."""
        if isinstance(operation, End) or operation.first is None:
            return
        for seq, op in enumerate(operation.ops, operation.first):
            there = self.ops.setdefault(seq, op)
            witness = self.witnesses.setdefault(seq, operation)
            if there != op:
                raise Contradiction(f"seq {seq} isn't the same in {operation} and {witness}")
            before = self.seqs.setdefault(op, seq)
            if before != seq:
                other = self.witnesses[before]
                raise Contradiction(f"{op} is there twice: as {seq} in {operation}, and in {other}")

    def place(self, history: Sequence[Operation]) -> list[_Placed]:
        """Return the operations that were done, but for sights, with their places."""
        placed = []
        starts: dict[int, int] = {}
        """The first seq of the sync that ends with a seq."""
        for operation in history:
            if isinstance(operation, Append):
                assert operation.first is not None
                last = operation.first + len(operation.ops) - 1
                starts[last] = operation.first
                placed.append(_Placed((last, False), operation))
            elif not isinstance(operation, Sight):
                placed.append(_Placed((operation.seq, True), operation))
        end = 0
        for last in sorted(starts):
            if starts[last] != end + 1:
                raise Contradiction(f"nobody appended what has seq {end + 1}")
            end = last
        beyond = sorted(seq for seq in self.witnesses if seq > end)
        if beyond:
            raise Contradiction(f"nobody appended what {self.witnesses[beyond[0]]} shows")
        for one in placed:
            seq = one.place[0]
            if seq and seq not in starts:
                raise Contradiction(f"no sync ends where the log ends in {one.operation}")
            if (
                isinstance(one.operation, Read)
                and one.operation.first + len(one.operation.ops) > seq + 1
            ):
                raise Contradiction(f"shows more than there is: {one.operation}")
        return placed


@define
class _Life:
    """One incarnation: what is known to be its."""

    name: str
    placed: list[_Placed] = field(factory=list)

    @property
    def span(self) -> tuple[Place, Place]:
        """The first and the last place."""
        places = [one.place for one in self.placed]
        return min(places), max(places)

    def may_precede(self, others: Iterable["_Life"]) -> bool:
        """Whether nothing of the others returned before the last of this was invoked."""
        last = max(one.operation.invoked for one in self.placed)
        return all(last <= one.operation.returned for other in others for one in other.placed)


def _ranks(placed: Iterable[_Placed]) -> dict[str, int]:
    """Order the incarnations; each must be over when the next one does something.

    Raises:
        Contradiction: Two were there at once, or one after its end.
    """
    lives: dict[str, _Life] = {}
    for one in placed:
        name = one.operation.incarnation
        if name is not None:
            lives.setdefault(name, _Life(name)).placed.append(one)
    ordered: list[_Life] = []
    for _, alike in groupby(sorted(lives.values(), key=lambda one: one.span), lambda one: one.span):
        ordered += _in_time(list(alike))
    for before, after in pairwise(ordered):
        if after.span[0] < before.span[1]:
            what = f"{before.name} was there up to {before.span[1]}, {after.name} from"
            raise Contradiction(f"two incarnations at once: {what} {after.span[0]} on")
    for life in ordered:
        ends = [one for one in life.placed if isinstance(one.operation, End)]
        if len(ends) > 1 or any(end.place < life.span[1] for end in ends):
            raise Contradiction(f"{life.name} was heard of after its end: {ends}")
    return {life.name: rank for rank, life in enumerate(ordered)}


def _in_time(alike: list[_Life]) -> list[_Life]:
    """Order lives of which nothing but times is known, and consume the list."""
    ordered = []
    while alike:
        for one in alike:
            if one.may_precede(other for other in alike if other is not one):
                break
        else:
            names = " and ".join(life.name for life in alike)
            raise Contradiction(f"two incarnations at once: {names}, none of which was first")
        alike.remove(one)
        ordered.append(one)
    return ordered


def _instants(ordered: Iterable[_Placed], ranks: dict[str, int]) -> dict[int, float]:
    """Return the earliest instant at which each seq may have come to be there.

    Raises:
        Contradiction: An operation returned before what must precede it was invoked.
    """
    instants: dict[int, float] = {}
    now, reason = -math.inf, ""
    for _, group in groupby(ordered, key=lambda one: one.rank(ranks)):
        latest, latest_reason = now, reason
        for one in group:
            operation = one.operation
            if operation.returned < now:
                raise Contradiction(f"{operation} had returned when {reason} was invoked")
            if operation.invoked > latest:
                latest, latest_reason = operation.invoked, str(operation)
            if isinstance(operation, Append):
                last = one.place[0]
                earliest = max(now, operation.invoked)
                instants |= dict.fromkeys(range(last - len(operation.ops) + 1, last + 1), earliest)
        now, reason = latest, latest_reason
    return instants
