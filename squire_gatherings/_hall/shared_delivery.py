"""The delivery of lifecycle events where several nodes share a store: one of them does it.

The outbox is one for all: each node writes what happens to the gatherings that it has, so the
events of a gathering are in order, whichever nodes it had. To deliver them is a thing that is owned
like a gathering, by a name that none can have: another node takes it over when that one is dead.
"""

from collections.abc import Sequence

import trio
from attrs import define, field

from squire_gatherings._hall.event_delivery import PAGE, Delivery
from squire_gatherings._hall.owner_store import OwnerStore
from squire_gatherings._hall.store import store_trouble
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.events import LifecycleEvent

EVENTS = ":events"
"""What is owned by the node that delivers events."""

INTERVAL = 1.0
"""Every so many seconds a node looks whether events of others wait, and who delivers them."""

ALL = 2**62
"""A number that no event has."""


@define(eq=False)
class SharedDelivery(Delivery):
    """Delivers the events of all nodes while this one is to do that."""

    owners: OwnerStore = field(kw_only=True)
    is_ours: bool = False
    """Whether this node delivers them, as far as it knows."""
    _has_more: bool = False

    async def run(self) -> None:
        """Deliver what is in the store while that's ours to do, until all is or `stop`'s time.

        Cancellation: it is shielded until then, since gatherings that are cancelled tell of it.
        """
        lifecycle = self.lifecycle
        try:
            with self._scope:
                is_last = False
                while not is_last:
                    is_last = lifecycle.has_ended
                    await self._look()
                    while self._may_deliver and self._has_more:
                        if not await self._deliver_page():
                            break
                        await self._forget()
                    if not is_last and not lifecycle.has_ended:
                        with trio.move_on_after(INTERVAL):
                            await lifecycle.written.wait()
        finally:
            with trio.move_on_after(INTERVAL, shield=True):
                await self.sink.aclose()

    @property
    def _may_deliver(self) -> bool:
        return self.is_ours and self.owners.lease.is_valid(trio.current_time())

    async def _look(self) -> None:
        """Find out how many events wait, and who delivers them."""
        store, lifecycle = self.owners, self.lifecycle
        was_ours = self._may_deliver
        try:
            with store_trouble():
                left = await lifecycle.store.begin_events()
                claim = await store.claim(EVENTS)
        except StoreUnavailable:
            return
        lifecycle.found(left.waiting)
        self.is_ours = claim.owner.id == store.node.id
        self._has_more = left.waiting > 0
        if not was_ours:
            # Others have delivered some meanwhile, or not.
            self._at = self._forgotten = 0

    async def _read(self) -> tuple[LifecycleEvent, ...]:
        with store_trouble():
            events = await self.lifecycle.store.read_events(after=self._at, up_to=ALL, limit=PAGE)
        self._has_more = bool(events)
        return events

    async def _deliver(self, events: Sequence[LifecycleEvent]) -> Sequence[LifecycleEvent]:
        if not self._may_deliver:
            # Another node may deliver them: nothing more is done with this page.
            self._has_more = False
            return events
        return await super()._deliver(events)
