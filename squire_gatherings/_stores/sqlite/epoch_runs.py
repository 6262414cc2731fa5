"""Runs of epochs: consecutive ops mostly have the same one, so that it's kept where it changes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

from squire_gatherings._values.log import LoggedOp

Run = tuple[int, str]
"""The seq from which ops have another epoch than before, and that epoch."""


def runs(ops: Sequence[LoggedOp], first_seq: int, *, before: str = "") -> list[Run]:
    """Return the runs of ops with the seqs from `first_seq` on, after an op of the epoch `before`.

    A run that goes on with `before` isn't one of them.
    """
    found: list[Run] = []
    epoch = before
    for seq, logged in enumerate(ops, start=first_seq):
        if logged.epoch != epoch:
            epoch = logged.epoch
            found.append((seq, epoch))
    return found


def epochs(of: Iterable[Run], seq: int) -> Iterator[str]:
    """Return the epoch of the op `seq`, of the next one, and so on without an end.

    The runs may begin before `seq` or after it: an op before them all has none, "".
    """
    epoch = ""
    for first_seq, next_epoch in of:
        if first_seq > seq:
            yield from repeat(epoch, first_seq - seq)
            seq = first_seq
        epoch = next_epoch
    yield from repeat(epoch)
