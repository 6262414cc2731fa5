"""Patience: how long connections may wait for the database, and one task that sees to all of them.

A server that was stopped, or a network that swallows everything, tells nobody.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Protocol

import trio
from attrs import define, field

from squire_gatherings._hall.nurseries import open_hidden_nursery

LOOKS = 4
"""How often a connection is looked at within its patience."""


class Waiting(Protocol):
    """A connection that may wait for the database."""

    @property
    def waits_until(self) -> float | None:
        """When it has waited long enough, by the monotonic clock; None if it doesn't wait."""
        ...

    def cut(self) -> None:
        """Let what waits for the database fail now."""
        ...


@define(eq=False)
class Patience:
    """Looks at connections while any of them waits. To begin a call costs next to nothing."""

    seconds: float
    """How long a connection waits, as a rule."""
    _connections: list[Waiting] = field(factory=list, init=False)
    _begun: trio.Event = field(factory=trio.Event, init=False)

    def watch(self, connection: Waiting) -> None:
        """Look at this one, too, from now on."""
        self._connections.append(connection)

    def begun(self) -> None:
        """Note, on Trio's thread, that a connection begins to wait."""
        if not self._begun.is_set():
            self._begun.set()

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Look at them until the block is left, also while that is cancelled."""
        scope = trio.CancelScope(shield=True)
        async with open_hidden_nursery() as nursery:
            nursery.start_soon(self._look, scope)
            try:
                yield
            finally:
                scope.cancel()

    async def _look(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await self._begun.wait()
                self._begun = trio.Event()
                while any(one.waits_until is not None for one in self._connections):
                    await trio.sleep(self.seconds / LOOKS)
                    now = monotonic()
                    for one in self._connections:
                        until = one.waits_until
                        if until is not None and now > until:
                            one.cut()
