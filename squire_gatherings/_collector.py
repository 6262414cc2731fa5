"""The garbage collector of a serving process.

A full collection of Python's looks at every object there is, and stops everything meanwhile: for
half a second with a few thousand connections, for ten with a million gatherings. It finds next to
nothing, since what ends here leaves no reference cycles (tests/test_leaks.py). So as soon as one
would take long, all that it would look at is exempt from it, and from the next ones, which then
look only at what came since. The young generations, where other packages' cycles die, are collected
often.

What is exempt is still freed when nothing refers to it any more. Only a cycle that outlived the
young generations of a process that grows, and that is dropped later, isn't found any more.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

YOUNG = 2_000
MIDDLE = 1
"""The middle generation is collected after some 6,000 new objects. Each of them is looked at as
often as with a higher number, but fewer of them at once."""
FULL = 3
"""A full collection comes after some 30,000."""

ENDS = 128
"""After so many ends the young generations are collected."""

LONG = 0.005
"""A full collection that takes more seconds than this takes long."""


_ends = count(1)


class Exempting:
    """Is called when a collection begins, and when it has ended (see `gc.callbacks`).

    The young collections have looked at all that a full one would look at, so they tell how long
    that would take.
    """

    began = 0.0
    expected = 0.0
    """How many seconds a full collection would take."""

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        generation, now = info["generation"], time.perf_counter()
        if phase == "start":
            self.began = now
            return
        took = now - self.began
        if generation:
            self.expected = took if generation == 2 else self.expected + took
        # Of the youngest, the next collection looks at all again.
        if self.expected > LONG or (not generation and took > LONG):
            gc.freeze()
            self.expected = 0.0


def note_end() -> None:
    """Note the end of a gathering: after many, the young generations are collected.

    Where many end one soon after the other, as much is freed as is made. Python counts new objects
    less freed ones, so it wouldn't collect for long, and would find some hundred thousand young
    objects in the end, which takes as long as a full collection.
    """
    if not next(_ends) % ENDS and gc.isenabled():
        gc.collect(1)


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
    now on, what a full collection would take long to look at (see docs/running.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
    if not any(isinstance(one, Exempting) for one in gc.callbacks):
        gc.callbacks.append(Exempting())
