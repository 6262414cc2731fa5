"""Linearizability: is there one order of concurrent operations that explains what they returned?

A history is linearizable if each operation may be thought of as done at one instant between its
invocation and its return, such that the operations in the order of these instants are a legal run
of the sequential specification (Herlihy and Wing, 1990, "Linearizability: a correctness condition
for concurrent objects"). An operation that never returned was done at some instant after its
invocation, or not at all.

The search is that of Wing and Gong (1993, "Testing and verifying concurrent objects"): of the
operations that were invoked before the first return, take one that the specification allows, and go
on with the others; where none is left to take, take the last one back. Lowe (2017, "Testing for
linearizability") remembers which operations were taken and what state they led to, and never goes
on from the same place twice. That is how Knossos and Porcupine work, too. They are in Clojure and
Go, and nothing of the kind was on PyPI in November 2026; hence this module.

A read is never postponed: where it may come later, it may come now. Without that, a wrong history
in which many read at once would take too long.

Horn and Kröning (2015, "Faster linearizability checking via P-compositionality") check each part of
a history by itself where the parts don't touch each other: here, each gathering is one history.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from attrs import frozen


class Operation(Protocol):
    """What somebody asked for, and got. Times are in seconds, of one clock."""

    @property
    def invoked(self) -> float:
        """When it was asked for."""

    @property
    def returned(self) -> float:
        """When the answer came; infinite if none did, so that nobody knows whether it was done."""


State = TypeVar("State", bound=Hashable)
Op = TypeVar("Op", bound=Operation)
Op_contra = TypeVar("Op_contra", bound=Operation, contravariant=True)


class Specification(Protocol[State, Op_contra]):
    """What an object does when one operation comes after the other."""

    @property
    def initial(self) -> State:
        """The state before all operations."""

    def step(self, state: State, operation: Op_contra) -> State | None:
        """Return the state after an operation; None if it couldn't have returned what it did."""

    def is_read(self, operation: Op_contra) -> bool:
        """Whether it changes nothing later if it changes nothing now."""


@frozen
class Verdict(Generic[Op]):
    """What a search has found."""

    is_linearizable: bool
    order: tuple[Op, ...]
    """The order that explains the history; or else the longest that explains a part of it."""
    unexplained: Op | None = None
    """The first operation to return, of those that this longest order leaves out."""


class Undecided(Exception):
    """The search took more steps than it was given."""


def check(
    history: Sequence[Op], specification: Specification[State, Op], *, steps: int = 10_000_000
) -> Verdict[Op]:
    """Search for an order that explains a history.

    Args:
        history: The operations, in any order. One that returned at the instant at which another was
            invoked overlaps it.
        specification: What the object may do.
        steps: How many times an operation is tried before the search is given up: to decide is
            NP-complete.

    Raises:
        Undecided: The search was given up.
    """
    events = _Events(history)
    state = specification.initial
    done = 0
    """The operations that were taken, as bits."""
    taken: list[tuple[int, State, Iterator[int]]] = []
    """Each that was taken, the state before it, and what else might have been taken instead."""
    seen: set[tuple[int, State]] = set()
    longest: tuple[int, ...] = ()
    choices = iter(events.choices())
    while events.to_return:
        for number in choices:
            steps -= 1
            if steps < 0:
                raise Undecided
            after = specification.step(state, history[number])
            if after is not None and (key := (done | 1 << number, after)) not in seen:
                seen.add(key)
                taken.append((number, state, choices))
                done, state = key
                events.lift(number)
                choices = iter(events.choices())
                break
        else:
            if len(taken) > len(longest):
                longest = tuple(number for number, _, _ in taken)
            while taken:
                after = state
                number, state, choices = taken.pop()
                done ^= 1 << number
                events.unlift(number)
                if state != after or not specification.is_read(history[number]):
                    break
            else:
                left = set(range(len(history))).difference(longest)
                first = min(left, key=lambda number: history[number].returned)
                return Verdict(False, tuple(history[n] for n in longest), history[first])
    return Verdict(True, tuple(history[number] for number, _, _ in taken))


HEAD = 0


class _Events:
    """Calls and returns in the order of their times, in a ring from which operations are lifted."""

    def __init__(self, history: Sequence[Operation]) -> None:
        events = [(one.invoked, 0, number) for number, one in enumerate(history)]
        events += [
            (one.returned, 1, number)
            for number, one in enumerate(history)
            if one.returned < math.inf
        ]
        events.sort()
        size = len(events) + 1
        self._history = history
        self._next = [*range(1, size), HEAD]
        self._before = [size - 1, *range(size - 1)]
        self._call_at = [-1] * size
        """The number of the operation whose call is at a place; -1 for returns."""
        self._places: list[list[int]] = [[] for _ in history]
        """Where each operation has its call and, if it returned, its return."""
        self.to_return = size - 1 - len(history)
        """How many operations that returned are still here."""
        for at, (_, is_return, number) in enumerate(events, 1):
            self._places[number].append(at)
            if not is_return:
                self._call_at[at] = number

    def choices(self) -> list[int]:
        """Return the operations that were invoked before the first return.

        Those that returned early come first: the others may often come later, and these can't.
        """
        found = []
        at = self._next[HEAD]
        while (number := self._call_at[at]) >= 0:
            found.append(number)
            at = self._next[at]
        return sorted(found, key=lambda number: self._history[number].returned)

    def lift(self, number: int) -> None:
        """Take an operation out."""
        for at in self._places[number]:
            before, after = self._before[at], self._next[at]
            self._next[before], self._before[after] = after, before
        self.to_return -= len(self._places[number]) - 1

    def unlift(self, number: int) -> None:
        """Put the operation back that was taken out last."""
        for at in reversed(self._places[number]):
            self._next[self._before[at]] = self._before[self._next[at]] = at
        self.to_return += len(self._places[number]) - 1
