"""The garbage collector of a serving process.

A full collection of Python's looks at every object there is, and stops everything meanwhile: for
half a second with a few thousand connections. It finds nothing, since what ends here leaves no
reference cycles (tests/test_leaks.py). So full collections are made rare. The young generations,
where other packages' cycles die, are collected often.
"""

import gc

YOUNG = 2_000
MIDDLE = 5
FULL = 1_000


def calm_the_collector() -> None:
    """Set the thresholds (see `gc.set_threshold`), and exempt everything that was imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
