"""Timing: how long a call takes."""

import time
from collections.abc import Callable


def microseconds(function: Callable[[], object], repeats: int) -> float:
    """Return the mean time of this many calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats * 1e6
