"""The sleep store: what a store also does if it remembers which gatherings sleep.

With one that doesn't, gatherings sleep as long as their process lives; the stores of ours do.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from squire_gatherings._hall.store import Store
from squire_gatherings._values.sleep import Slept


@runtime_checkable
class SleepStore(Store, Protocol):
    """A store that remembers which incarnations sleep, for one hall at a time.

    Every async call is a checkpoint, and raises `StoreUnavailable` when the store can't serve it
    now. One that is cancelled before it began does nothing. One that is cancelled later is waited
    for, or abandoned; each may be repeated.
    """

    async def sleeping(self) -> tuple[Slept, ...]:
        """Return the incarnations that slept when earlier halls ended, whose logs are as then."""
        ...

    async def write_sleep(self, *, asleep: Sequence[Slept], awake: Sequence[str]) -> None:
        """Remember some, and forget others; return once no end of the process undoes that.

        A loss of power may bring back what was forgotten.

        Args:
            asleep: Those that sleep now. What was remembered of the same incarnation is replaced.
            awake: Incarnations that don't sleep any more.
        """
        ...
