"""What was done to one gathering's log, and what its clients were shown of it.

Times are in seconds, of one monotonic clock that all who record share. An op is known by a text of
its own, that no other op has.
"""

import math
from collections.abc import Iterable

from attrs import evolve, frozen


@frozen(kw_only=True)
class Append:
    """A sync: sent once or several times, until it was answered."""

    client: str
    invoked: float
    """When it was sent first."""
    returned: float = math.inf
    """When it was answered first; infinite if it never was."""
    ops: tuple[str, ...]
    first: int | None = None
    """The seq of its first op, as the answer says."""
    incarnation: str | None = None
    """The one that answered."""


@frozen(kw_only=True)
class Read:
    """What a join or a fetch was answered: how long the log is, and a piece of it."""

    client: str
    invoked: float
    returned: float
    seq: int
    first: int
    """The seq of the first of `ops`."""
    ops: tuple[str, ...] = ()
    incarnation: str


@frozen(kw_only=True)
class Sight:
    """What was forwarded: ops that are in the log by now."""

    client: str
    at: float
    first: int
    ops: tuple[str, ...]

    @property
    def invoked(self) -> float:
        """The same as `returned`: what is in a log once stays there, so an earlier instant would
        explain nothing that this one doesn't."""
        return self.at

    @property
    def returned(self) -> float:
        """When it came."""
        return self.at


@frozen(kw_only=True)
class End:
    """The end of an incarnation, as its notices say. None of it is heard after that."""

    client: str
    invoked: float
    """An instant at which it can't have ended yet."""
    returned: float
    """When the first notice came."""
    seq: int
    incarnation: str


Operation = Append | Read | Sight | End


def resolve(history: Iterable[Operation]) -> list[Operation]:
    """Give unanswered syncs the seqs under which others were shown them.

    Those of which nobody was shown anything are left out. The history should show the whole log.
    """
    history = list(history)
    seqs: dict[str, int] = {}
    for one in history:
        if isinstance(one, Read | Sight):
            seqs.update((op, seq) for seq, op in enumerate(one.ops, one.first))
    resolved: list[Operation] = []
    for one in history:
        if isinstance(one, Append) and one.first is None:
            firsts = [seqs[op] - number for number, op in enumerate(one.ops) if op in seqs]
            resolved += [evolve(one, first=first) for first in firsts[:1]]
        else:
            resolved.append(one)
    return resolved
