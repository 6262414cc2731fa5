"""Sharing: a store that one process hands on to another while both have it open."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Shareable(Protocol):
    """A store that can be handed on: `SqliteStore` is one."""

    @property
    def descriptors(self) -> Sequence[int]:
        """The open files whose locks keep others away, for a process that shares them."""
        ...

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is being written, or waits to be."""
        ...

    async def fold(self) -> None:
        """Do what must be done before another process can read all. Raises `StoreUnavailable`."""
        ...

    def hand_over(self) -> None:
        """Note that another process has it: nothing is written here any more."""
        ...

    def take_over(self) -> None:
        """Note that it's ours, and no other process's any more."""
        ...

    def say(self, status: str) -> None:
        """Say something to those who ask which process has it."""
        ...
