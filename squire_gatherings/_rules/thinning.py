"""Thinning: which snapshots are kept, so that any point of a log is near one, and few stay.

The newest ones are all kept. An older one is dropped if there are few ops, and few bytes of them,
between the two beside it.
"""

from collections.abc import Callable, Sequence

NEWEST = 8
"""How many of the newest snapshots are kept."""

OPS = 2000
"""How many ops lie between two snapshots at most, unless one append has more."""

BYTES = 4 << 20
"""How many bytes these ops have at most, unless it was so before anything was dropped."""


def superfluous(
    newest: Sequence[int], first_seq: int, size: Callable[[int, int], int]
) -> int | None:
    """Return which snapshot is to be dropped now that there is another.

    Args:
        newest: The seqs of the newest ones, from the last one back; `NEWEST` + 2 of them.
        first_seq: The first op of the log.
        size: Returns how many bytes the ops after one seq and up to another have.
    """
    if len(newest) <= NEWEST:
        return None
    after, one = newest[NEWEST - 1], newest[NEWEST]
    before = newest[NEWEST + 1] if len(newest) > NEWEST + 1 else first_seq - 1
    if one < first_seq or after - before > OPS or size(before, after) > BYTES:
        return None
    return one
