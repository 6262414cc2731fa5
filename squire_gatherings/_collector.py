"""The garbage collector of a serving process.

A full collection of Python's looks at every object there is, and stops everything meanwhile: for
half a second with a few thousand connections, for ten with a million gatherings. It finds next to
nothing, since what ends here leaves no reference cycles (tests/test_leaks.py). So as soon as one
takes long, all that it has looked at is exempt from the next ones, which then look only at what
came since. The young generations, where other packages' cycles die, are collected often.

What is exempt is still freed when nothing refers to it any more. Only a cycle that was there when a
full collection took long, and that is dropped later, isn't found any more.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 2_000
MIDDLE = 5
FULL = 4
"""A full collection comes after some 60,000 new objects: it takes about as long as `LONG`. More
often, each object would be looked at several times before it is exempt. Less often, each collection
would hold others up for longer."""

LONG = 0.005
"""A full collection that takes more seconds than this takes long: it has looked at some ten
thousand objects."""


class Exempting:
    """Is called when a collection begins, and when it has ended (see `gc.callbacks`)."""

    began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        now = time.perf_counter()
        if phase == "start":
            self.began = now
        elif now - self.began > LONG:
            gc.freeze()


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing while the block runs, and exempt what was made in it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def calm_the_collector() -> None:
    """Keep Python's garbage collector from holding up a process with many gatherings.

    Sets the thresholds (see `gc.set_threshold`), exempts everything that was imported, and, from
    now on, what a long full collection has looked at (see docs/running.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
    if not any(isinstance(one, Exempting) for one in gc.callbacks):
        gc.callbacks.append(Exempting())
