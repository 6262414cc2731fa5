"""The memory check: what a gathering and a connection cost the server, and that it comes back.

That memory is free again can't be read from outside: allocators keep pages of which only a part is
in use (CPython 3.11 maps a mebibyte at a time), so the resident memory hardly falls, however little
is left. But what is free is used again. So when all gatherings have ended, everybody joins once
more. If what the first crowd used were still in use, the second would need as much on top. The
bound:

    with the second crowd - at the most before  <=  FLOOR + SHARE * (at the most before - start)

`benchmarks/leaks.py` finds finer leaks, over many rounds on a virtual clock.
"""

from collections.abc import Sequence

from attrs import frozen

from squire_gatherings._load.checks.findings import Finding, Kind
from squire_gatherings._load.plan import Plan

FLOOR = 8 * 1024 * 1024
"""Bytes: for pages that are used in another way the second time."""

SHARE = 0.1
"""The share of the first crowd's memory that may be missing for the second."""

ENOUGH_CONNECTIONS = 500
"""With fewer, pages and caches blur what one of them costs."""


@frozen(kw_only=True)
class Memory:
    """Resident memory of the server, in bytes."""

    start: int
    peak: int
    """The most that was in use until everything had ended."""

    end: int
    """When everything had ended."""

    again: int | None
    """With everybody there once more; None if that wasn't tried."""

    per_gathering: float | None
    """Without its connections."""

    per_connection: float | None

    @property
    def bound(self) -> float:
        """What may be in use with everybody there once more."""
        return self.peak + FLOOR + SHARE * (self.peak - self.start)

    @property
    def came_back(self) -> bool:
        """Whether the second crowd found room in what the first one used (or wasn't tried)."""
        return self.again is None or self.again <= self.bound

    def check(self) -> None:
        """Compare the second crowd's memory with the bound.

        Raises:
            Finding: The memory didn't come back.
        """
        if self.again is not None and not self.came_back:
            what = (
                f"{_mib(self.again)} in use when everybody came again, after all had ended; "
                f"{_mib(self.peak)} at the most before: at most {_mib(self.bound)} may be"
            )
            raise Finding(Kind.MEMORY, what)


def costs(
    plan: Plan, start: int | None, after_first: int | None, after_all: int | None
) -> tuple[float | None, float | None]:
    """Return what a gathering costs without its connections, and a connection, in bytes.

    First each gathering got one client, then all the others came: two equations for two
    unknowns. None where a reading is missing, or there were too few to tell.
    """
    others = plan.gatherings * (plan.clients - 1)
    if start is None or after_first is None or after_all is None or others < ENOUGH_CONNECTIONS:
        return None, None
    connection = (after_all - after_first) / others
    return (after_first - start) / plan.gatherings - connection, connection


def peak(samples: Sequence[tuple[float, int]], at_least: int) -> int:
    """Return the largest sample, or `at_least` where that is larger."""
    return max(at_least, *(memory for _, memory in samples), 0)


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
