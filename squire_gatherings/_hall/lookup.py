"""The lookup: asks the store whether syncs were applied, where memory can't tell."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from attrs import define, field

from squire_gatherings._hall.store import Store, store_trouble
from squire_gatherings._rules.sync_ids import LookupNeeded, SyncIds, SyncKey
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import SyncRecord

SCOPE_LIMIT = 10_000
"""How many ids of older syncs of one scope are read, so that new ones need no lookup."""

AT_ONCE = 256
"""How many syncs the store is asked about at once, at most."""

Found = SyncRecord | StoreUnavailable | None


@define(eq=False)
class SyncLookup:
    """What the store says of the sync ids that memory doesn't know."""

    gathering: str
    store: Store
    syncs: SyncIds
    _keys: tuple[SyncKey, ...] = ()
    _found: dict[SyncKey, Found] = field(factory=dict)

    def answer(self, key: SyncKey) -> SyncRecord | None:
        """Return what the store said of a sync; None if it wasn't applied, which is said once.

        What was applied stays so: a client that repeats the same sync needs no other look.

        Raises:
            LookupNeeded: The store wasn't asked yet.
            StoreUnavailable: The store was asked, and couldn't answer.
        """
        if key not in self._found:
            raise LookupNeeded
        found = self._found[key]
        if not isinstance(found, SyncRecord):
            del self._found[key]
        if isinstance(found, StoreUnavailable):
            raise found
        return found

    def prepare(self, keys: Iterable[SyncKey]) -> None:
        """Choose which of these to `look_up`: all that aren't known, up to `AT_ONCE`."""
        self._keys = tuple(islice(filter(self._is_unknown, keys), AT_ONCE))

    async def look_up(self) -> None:
        """Ask the store about the syncs that were prepared, and keep what it answers.

        Cancellation: they must be prepared again.
        """
        keys, self._keys = self._keys, ()
        # Earlier answers that nobody has asked for will never be asked for.
        self._found.clear()
        try:
            with store_trouble():
                await ask_for_older(self.gathering, self.store, self.syncs, keys)
                keys = tuple(filter(self._is_unknown, keys))
                found = await self.store.find_syncs(self.gathering, keys) if keys else {}
                records = {key: found.get(key) for key in keys}
        except StoreUnavailable as error:
            self._found.update(dict.fromkeys(keys, error))
        else:
            self._found.update(records)

    def _is_unknown(self, key: SyncKey) -> bool:
        try:
            self.syncs.find(key)
        except LookupNeeded:
            return True
        return False


async def ask_for_older(
    gathering: str, store: Store, syncs: SyncIds, keys: Iterable[SyncKey]
) -> None:
    """Ask the store for the older syncs of these scopes that it wasn't asked about yet.

    Cancellation: those that it has answered about are known.
    """
    for scope in syncs.unasked(keys):
        ids = await store.sync_ids(gathering, scope, limit=SCOPE_LIMIT + 1)
        syncs.told(scope, ids, is_all=len(ids) <= SCOPE_LIMIT)
