"""The checker: all states that can be reached, breadth first, and the shortest way to a fault."""

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

import msgspec
from attrs import define, field, frozen

S = TypeVar("S", bound=tuple[object, ...])

_encode = msgspec.msgpack.Encoder().encode


class Violation(Exception):
    """A step did what must never be done."""


class Model(Protocol, Generic[S]):
    """What is checked. States are tuples of numbers, strings, None and such tuples."""

    def first(self) -> S:
        """Return the first state."""
        ...

    def steps(self, state: S) -> Iterator[tuple[str, S]]:
        """Yield what may happen, and the state after it. Raises `Violation`."""
        ...

    def check(self, state: S) -> None:
        """Raise `Violation` if something doesn't hold in this state."""
        ...

    def is_done(self, state: S) -> bool:
        """Whether nothing is left to do."""
        ...


@frozen
class Fault:
    """What was found, and the shortest way there."""

    what: str
    way: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.way, f"-> {self.what}"])


@frozen
class Result:
    """What the checker saw."""

    states: int
    steps: int
    fault: Fault | None
    is_complete: bool
    """Whether these are all states."""


@define
class _Graph:
    """All states, numbered as they were found; of each only a hash, and whence it was reached."""

    numbers: dict[bytes, int] = field(factory=dict)
    parents: "array[int]" = field(factory=lambda: array("l"))
    labels: list[str] = field(factory=list)
    edges: "array[int]" = field(factory=lambda: array("l"))
    """Pairs: from, to."""
    done: list[int] = field(factory=list)

    def add(self, state: tuple[object, ...], parent: int, label: str) -> tuple[int, bool]:
        key = blake2b(_encode(state), digest_size=16).digest()
        number = self.numbers.get(key)
        if number is not None:
            return number, False
        number = self.numbers[key] = len(self.parents)
        self.parents.append(parent)
        self.labels.append(label)
        return number, True

    def way_to(self, number: int) -> list[str]:
        way: list[str] = []
        while number > 0:
            way.append(self.labels[number])
            number = self.parents[number]
        return way[::-1]

    def never_done(self) -> int | None:
        """Return the first state from which no state can be reached in which all is done."""
        before: list[list[int]] = [[] for _ in self.parents]
        edges = iter(self.edges)
        for start, end in zip(edges, edges, strict=True):
            before[end].append(start)
        reached = bytearray(len(self.parents))
        todo = list(self.done)
        for number in todo:
            reached[number] = 1
        while todo:
            for number in before[todo.pop()]:
                if not reached[number]:
                    reached[number] = 1
                    todo.append(number)
        found = reached.find(0)
        return None if found < 0 else found


def check(model: Model[S], *, most: int = 10_000_000) -> Result:
    """Look at all states, or at so many."""
    graph = _Graph()
    first = model.first()
    graph.add(first, -1, "")
    todo: deque[tuple[int, S]] = deque([(0, first)])
    steps = 0
    while todo:
        number, state = todo.popleft()
        label = ""
        try:
            model.check(state)
            if model.is_done(state):
                graph.done.append(number)
            for label, after in model.steps(state):
                steps += 1
                found, is_new = graph.add(after, number, label)
                graph.edges.append(number)
                graph.edges.append(found)
                if is_new:
                    todo.append((found, after))
        except Violation as violation:
            way = graph.way_to(number)
            fault = Fault(str(violation), tuple(way))
            return Result(len(graph.parents), steps, fault, False)
        if len(graph.parents) > most:
            return Result(len(graph.parents), steps, None, False)
    stuck = graph.never_done()
    if stuck is not None:
        way = graph.way_to(stuck)
        fault = Fault("from here on, something is never done", tuple(way))
        return Result(len(graph.parents), steps, fault, True)
    return Result(len(graph.parents), steps, None, True)


def replaced(values: tuple[S, ...], place: int, value: S) -> tuple[S, ...]:
    """Return a tuple with another value in one place."""
    return (*values[:place], value, *values[place + 1 :])


def without(values: Iterable[S], value: S) -> tuple[S, ...]:
    """Return a tuple without one value."""
    return tuple(one for one in values if one != value)
