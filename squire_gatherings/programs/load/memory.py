"""Memory of the server: what a gathering and a connection cost, and that it comes back.

What is in use at the end, above the start, is compared with what was in use at the most.
Not all of it can come back: the interpreter's and the C library's allocators keep pages
that are partly used, and the store in memory keeps the logs, as it must. The bound:

    end - start - logs  <=  FLOOR + SHARE * (peak - start - logs)

A gathering that stays in memory with its connections costs nearly all of its share of the
peak and is over the bound; `benchmarks/leaks.py` finds finer leaks, over many rounds.
"""

from collections.abc import Sequence

from attrs import frozen

from squire_gatherings.programs.load.plan import Plan

FLOOR = 8 * 1024 * 1024
"""Bytes: code that is loaded and tables that are made when the first clients come."""

SHARE = 0.5
"""The share of the growth that may stay in partly used pages."""

LOG_BYTES = 1000
"""Bytes that the store in memory keeps for an op and its sync id, beside the op itself."""

ENOUGH_CONNECTIONS = 500
"""With fewer, pages and caches blur what one of them costs."""


@frozen(kw_only=True)
class Memory:
    """Resident memory of the server, in bytes."""

    start: int
    peak: int
    end: int
    logs: int
    """What the store in memory was reckoned to keep; 0 for other stores."""

    per_gathering: float | None
    """Without its connections."""

    per_connection: float | None
    checked: bool
    """Whether the end was reached, so that the bound must hold."""

    @property
    def bound(self) -> float:
        """What may be in use at the end."""
        return self.start + self.logs + FLOOR + SHARE * max(0, self.peak - self.start - self.logs)

    @property
    def is_back(self) -> bool:
        """Whether it is."""
        return self.end <= self.bound


def costs(
    plan: Plan, start: int | None, after_first: int | None, after_all: int | None
) -> tuple[float | None, float | None]:
    """Return what a gathering costs without its connections, and a connection, in bytes.

    First each gathering got one onlooker, then all the others came: two equations for two
    unknowns. None where a reading is missing, or there were too few to tell.
    """
    others = plan.gatherings * (plan.onlookers - 1)
    if start is None or after_first is None or after_all is None or others < ENOUGH_CONNECTIONS:
        return None, None
    connection = (after_all - after_first) / others
    return (after_first - start) / plan.gatherings - connection, connection


def peak(samples: Sequence[tuple[float, int]], start: int) -> int:
    """Return the largest sample."""
    return max((memory for _, memory in samples), default=start)
