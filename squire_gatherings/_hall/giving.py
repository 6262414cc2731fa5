"""Giving: gatherings fall asleep here, so that another node goes on with them.

Their connections are closed (4010) once they are the other node's, so that nobody comes back too
early. Whoever asks for one meanwhile waits until it is the other node's, or stays after all. The
incarnation, its rules and its deadline go along.
"""

from collections.abc import Collection
from contextlib import suppress

import trio
from attrs import define, field

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.incarnations import Incarnation
from squire_gatherings._hall.ownership import Ownership
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._values.endings import CloseCode
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.nodes import Node

SOON = 2.0
"""One for which something is due within so many seconds isn't given: nobody would be late for it
while it's on its way, and until the other node knows that it has it."""


@define(eq=False)
class Giving:
    """Some gatherings that are on their way to another node."""

    registry: Registry
    ownership: Ownership
    to: Node
    _asleep: dict[str, Sleeper] = field(factory=dict)
    """Those that may be given, by id. Nothing is done for them here meanwhile."""
    _parted: list[Client] = field(factory=list)
    """Whose connections are to be closed. What they say meanwhile goes nowhere; they repeat it."""

    async def give(self, gatherings: Collection[str], within: float) -> int:
        """Give gatherings to the other node; return how many were given.

        One stays that can't sleep, as the store doesn't take what was added to it, or that is to
        end, or to do something by itself, within `SOON`.

        Args:
            gatherings: Which ones. Those that aren't here, or that are kept out, are left alone.
            within: How many seconds they have to fall asleep.

        Cancellation: those that sleep by then are given, or not, and all go on.
        """
        registry = self.registry
        some = [one for one in gatherings if self._begin(one)]
        try:
            with trio.move_on_after(within):
                async with trio.open_nursery() as nursery:
                    for one in some:
                        nursery.start_soon(self._lay_down, one)
            return await self._give_away() if self._asleep else 0
        finally:
            for sleeper in self._asleep.values():
                self._keep(sleeper)
            for one in some:
                registry.moving.pop(one).set()
            self._close_connections()

    def _begin(self, gathering: str) -> bool:
        """Have whoever needs one wait from now on; return whether it may be given."""
        registry = self.registry
        if registry.closed or gathering not in registry.living:
            return False
        if gathering in registry.moving or gathering in registry.kept_out:
            return False
        registry.moving[gathering] = trio.Event()
        return True

    async def _lay_down(self, gathering: str) -> None:
        """Have one fall asleep, and the store know it; nothing is done for it from then on."""
        registry, book = self.registry, self.registry.book
        one = registry.living.get(gathering)
        if isinstance(one, Incarnation):
            await one.wait_opened()
            one = registry.living.get(gathering)
        if one is None or one.room.deadline.wakes_at < trio.current_time() + SOON:
            return
        if isinstance(one, Incarnation) and one.room.accepting:
            for client in tuple(one.room.clients.values()):
                one.room.detach(client)
                self._parted.append(client)
            await one.wait_asleep()
        elif isinstance(one, Sleeper):
            self._parted += registry.sleepers.detach_all(one)
        sleeper = registry.living.get(gathering)
        if not isinstance(sleeper, Sleeper) or book is None:
            # It has ended.
            return
        is_known = False
        registry.sleepers.pause(sleeper)
        try:
            with suppress(StoreUnavailable):
                await book.settle(registry.sleepers.incarnation_of(sleeper))
                is_known = True
        finally:
            if is_known:
                self._asleep[gathering] = sleeper
            else:
                self._keep(sleeper)

    def _keep(self, sleeper: Sleeper) -> None:
        """Have one go on here, if it is still here."""
        if self.registry.living.get(sleeper.id) is sleeper:
            self.registry.sleepers.go_on(sleeper)

    def _close_connections(self) -> None:
        """Send those who were connected to where their gatherings are now."""
        parted, self._parted = self._parted, []
        for client in parted:
            client.close(CloseCode.MOVED, "moved")

    async def _give_away(self) -> int:
        """Give those that sleep; return how many were given.

        Cancellation: as long as the lease lasts, it is waited until it is known of all whether they
        were given, unless the hall is closed first. After that they are nobody's here: whoever has
        them by the store goes on with them when they are needed.
        """
        registry, ownership = self.registry, self.ownership
        lease, names = ownership.lease, tuple(self._asleep)
        try:
            with trio.CancelScope(shield=True) as scope:
                while not (lease.is_lost or registry.closed):
                    try:
                        with store_trouble():
                            given = await ownership.store.give(names, self.to)
                    except StoreUnavailable:
                        # Nobody knows whose they are, for long perhaps.
                        self._close_connections()
                        scope.shield = ownership.is_certain
                        await trio.sleep(registry.settings.commit_retry_interval)
                        continue
                    for one in given:
                        self._drop(one)
                    return len(given)
            return 0
        except trio.Cancelled:
            for one in names:
                self._drop(one)
            raise

    def _drop(self, gathering: str) -> None:
        """Have nothing of one here any more."""
        registry, sleeper = self.registry, self._asleep.pop(gathering)
        if registry.living.get(gathering) is sleeper:
            del registry.living[gathering]
            registry.sleepers.drop(sleeper)
