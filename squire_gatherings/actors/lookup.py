"""The lookup: asks the store about syncs of which memory can't tell if they were applied."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from attrs import define, field

from squire_gatherings.actors.store import Store
from squire_gatherings.rules.sync_ids import SyncIds, SyncKey
from squire_gatherings.values.errors import StoreUnavailable
from squire_gatherings.values.log import SyncRecord

SCOPE_LIMIT = 10_000
"""Of how many older syncs of one scope the ids are read, so as not to look up each new one."""

AT_ONCE = 256
"""Of how many syncs at most the store is asked together."""

Found = SyncRecord | StoreUnavailable | None


class LookupNeeded(Exception):
    """Only the store can tell if this sync was applied: process it again after the lookup."""


@define(eq=False)
class SyncLookup:
    """What the store has said of sync ids, for the messages that ask, once each."""

    gathering: str
    store: Store
    syncs: SyncIds
    is_due: bool = False
    """Whether a message waits for what `look_up` finds."""
    _keys: tuple[SyncKey, ...] = ()
    _found: dict[SyncKey, Found] = field(factory=dict)

    def find(self, key: SyncKey) -> SyncRecord | None:
        """Return the record of a sync that memory has none of; None if it wasn't applied.

        Raises `LookupNeeded` where that isn't known yet, `StoreUnavailable` where it can't be.
        """
        if self._found and key in self._found:
            found = self._found.pop(key)
            if isinstance(found, StoreUnavailable):
                raise found
            return found
        if self.syncs.is_new(key):
            return None
        raise LookupNeeded

    def prepare(self, keys: Iterable[SyncKey]) -> None:
        """Choose from these what to `look_up`: all that aren't known, as far as is good."""
        syncs = self.syncs
        unknown = (key for key in keys if syncs.find(key) is None and not syncs.is_new(key))
        self._keys = tuple(islice(unknown, AT_ONCE))
        self.is_due = True

    async def look_up(self) -> None:
        """Ask the store what was prepared. If it can't be asked, that is what was found."""
        keys, self._keys = self._keys, ()
        self.is_due = False
        # What nobody asked for in the meantime would never be asked for any more.
        self._found.clear()
        try:
            for scope in self.syncs.unasked(keys):
                ids = await self.store.sync_ids(self.gathering, scope, limit=SCOPE_LIMIT + 1)
                self.syncs.told(scope, ids, is_all=len(ids) <= SCOPE_LIMIT)
            keys = tuple(key for key in keys if not self.syncs.is_new(key))
            found = await self.store.find_syncs(self.gathering, keys) if keys else {}
        except StoreUnavailable as error:
            self._found.update(dict.fromkeys(keys, error))
        else:
            self._found.update({key: found.get(key) for key in keys})
