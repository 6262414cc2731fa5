"""The smallest corpus: the fewest, shortest inputs that reach each step that any of them reaches.

A step is a pair of our lines that run one after the other in a function, together with how often
they do: once, a few or many times.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

Step = tuple[object, int, int, int]

OURS = ("/squire_gatherings/", "/websockets/")
MOST = 48
"""The most inputs that a corpus has: those that reach most."""


def steps(run: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return the steps that an input reaches."""
    count: Counter[tuple[object, int, int]] = Counter()
    lines: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if event == "call":
            if not any(part in frame.f_code.co_filename for part in OURS):
                return None
            lines[frame] = 0
        elif event == "line":
            count[frame.f_code, lines[frame], frame.f_lineno] += 1
            lines[frame] = frame.f_lineno
        elif event == "return":
            lines.pop(frame, None)
        return trace

    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return {(*step, min(times, 2)) for step, times in count.items()}


def smallest(
    run: Callable[[bytes], None], seeds: Iterable[bytes], found: Iterable[bytes]
) -> list[bytes]:
    """Return the found inputs that are worth keeping besides the seeds."""
    reached: set[Step] = set()
    for seed in seeds:
        reached |= steps(run, seed)
    kept: list[bytes] = []
    for data in sorted(set(found), key=lambda one: (len(one), one)):
        if len(kept) == MOST:
            break
        new = steps(run, data) - reached
        if new:
            reached |= new
            kept.append(data)
    return kept
