"""What a generator process is told: its orders at first, and then words. One line each."""

import attrs

from squire_gatherings._load.plan import Plan

READY = b"ready"
"""What it says first: it waits for its orders."""

STOP = b"stop"
"""Submit nothing more, and settle what is under way."""

AUDIT = b"audit"
"""All gatherings have ended: everybody joins once more, and reads the logs."""

QUIT = b"quit"
"""End at once."""


@attrs.frozen(kw_only=True)
class Orders:
    """The plan, which part of it is this process's, and when it starts."""

    plan: Plan
    process: int
    """Its number, from 0 on."""

    start: float
    """`time.monotonic` at second 0."""
