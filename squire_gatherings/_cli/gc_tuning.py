"""The garbage collector of a serving process.

A full collection of Python's looks at every object there is and stops everything meanwhile:
half a second with a few thousand connections, for nothing, since what ends here leaves no
reference cycles (tests/test_leaks.py). So full collections are made rare. The young
generations, where other packages' cycles die, are collected as ever.
"""

import gc

YOUNG = 2_000
MIDDLE = 5
FULL = 1_000


def calm_the_collector() -> None:
    """Set the thresholds (see `gc.set_threshold`), and leave what was imported out of it all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
