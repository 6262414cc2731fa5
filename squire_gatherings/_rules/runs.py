"""Runs: a set of seqs, kept as its runs without a hole, two numbers each."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from attrs import define, field

_TRIMMED_AT_ONCE = 1024
"""How many dropped runs are kept at least, since deleting many at once is cheaper."""


def _numbers() -> "array[int]":
    return array("q")


@define(eq=False)
class Runs:
    """A set of seqs. Neighbours are one run, so a long run costs no more than a short one.

    To add at the end, and to drop at the beginning, costs the same however many runs there are.
    """

    _starts: "array[int]" = field(factory=_numbers)
    _stops: "array[int]" = field(factory=_numbers)
    """Ascending, as `_starts` are; no run touches the next."""
    _dropped: int = 0
    """How many runs at the beginning don't count any more."""

    def __bool__(self) -> bool:
        return self._dropped < len(self._starts)

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._starts) - self._dropped

    def __contains__(self, seq: int) -> bool:
        index = bisect_right(self._starts, seq, self._dropped) - 1
        return index >= self._dropped and seq < self._stops[index]

    def __iter__(self) -> Iterator[range]:
        """Give the runs, ascending."""
        for index in range(self._dropped, len(self._starts)):
            yield range(self._starts[index], self._stops[index])

    def add(self, seqs: range) -> None:
        """Put consecutive seqs in; some of them may be there already."""
        if not seqs:
            return
        start, stop = seqs.start, seqs.stop
        # The runs that touch it become one with it.
        first = bisect_left(self._stops, start, self._dropped)
        last = bisect_right(self._starts, stop, self._dropped)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = array("q", (start,))
        self._stops[first:last] = array("q", (stop,))

    def drop_to(self, seq: int) -> None:
        """Forget the runs that end at `seq` or before."""
        stops = self._stops
        dropped = self._dropped
        while dropped < len(stops) and stops[dropped] <= seq + 1:
            dropped += 1
        if dropped == len(stops) or dropped > max(_TRIMMED_AT_ONCE, len(stops) // 2):
            del self._starts[:dropped]
            del stops[:dropped]
            dropped = 0
        self._dropped = dropped

    def clear(self) -> None:
        """Forget everything."""
        self._starts, self._stops, self._dropped = _numbers(), _numbers(), 0
