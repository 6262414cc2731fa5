"""Claiming: gatherings that are claimed while another claim is under way go into the next one."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")

Claimed = Mapping[str, int | None]
"""The key of each one's owner; None where nobody is, and we couldn't be."""


@define(eq=False)
class _Asked(Generic[T]):
    """What is known of the owner of one gathering, once something is."""

    is_known: bool = False
    owner: T | None = None
    failure: Exception | None = None


@define(eq=False)
class Claiming(Generic[T]):
    """Collects claims, for a function to make many of them at once."""

    _claim: Callable[[Iterable[str]], Awaitable[Mapping[str, T | None]]]
    """May raise `StoreUnavailable`."""
    _waiting: dict[str, _Asked[T]] = field(factory=dict, init=False)
    _turn: trio.Lock = field(factory=trio.Lock, init=False)

    async def claim(self, gathering: str) -> T | None:
        """Claim a gathering with others; return what is known of its owner.

        Raises:
            StoreUnavailable: The store can't be asked now.

        Cancellation: it may be claimed all the same.
        """
        asked = self._waiting.setdefault(gathering, _Asked())
        async with self._turn:
            if not asked.is_known:
                await self._claim_all()
        if asked.failure is not None:
            # One of its own for each: raising one adds to its traceback.
            raise type(asked.failure)(*asked.failure.args)
        return asked.owner

    async def _claim_all(self) -> None:
        batch, self._waiting = self._waiting, {}
        try:
            owners = await self._claim(batch)
        except Exception as error:
            for asked in batch.values():
                asked.is_known, asked.failure = True, error
        except BaseException:
            # Whoever comes next claims them.
            self._waiting = batch | self._waiting
            raise
        else:
            for gathering, asked in batch.items():
                asked.is_known, asked.owner = True, owners.get(gathering)
