"""Sync ids: which syncs were applied, so that none is applied twice, however old.

The newest are remembered as records. Of those that this incarnation has forgotten a hash
remains, so that a new id needn't be looked up in the store to know that it is new; of those
from before it, the store must be asked once for each scope.
"""

from array import array
from collections.abc import Iterable

from attrs import define, field

from squire_gatherings.values.log import SyncRecord

SyncKey = tuple[str, str]
"""Scope and id."""

_EMPTY = 0
_FIRST_SIZE = 64
_BITS = 2**64 - 1


def _no_slots() -> "array[int]":
    return array("Q", bytes(8 * _FIRST_SIZE))


@define(eq=False)
class Hashes:
    """A set of 64-bit hashes in 16 to 32 bytes each: open addressing, linear probing.

    (Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm L.) One of
    2**64 strangers is taken for a member: whoever asks must bear that.
    """

    _slots: "array[int]" = field(factory=_no_slots)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: SyncKey) -> None:
        """Remember a key."""
        if 2 * self._count >= len(self._slots):
            self._grow()
        self._put(hash(key) & _BITS or 1)

    def __contains__(self, key: SyncKey) -> bool:
        value = hash(key) & _BITS or 1
        return self._slots[self._place(value)] == value

    def _place(self, value: int) -> int:
        """Return the slot in which `value` is, or would be."""
        slots = self._slots
        mask = len(slots) - 1
        at = value & mask
        while slots[at] not in (_EMPTY, value):
            at = (at + 1) & mask
        return at

    def _put(self, value: int) -> None:
        at = self._place(value)
        if self._slots[at] == _EMPTY:
            self._slots[at] = value
            self._count += 1

    def _grow(self) -> None:
        older = self._slots
        self._slots = array("Q", bytes(16 * len(older)))
        self._count = 0
        for value in older:
            if value != _EMPTY:
                self._put(value)


@define(eq=False)
class SyncIds:
    """What one incarnation knows of the syncs that were applied."""

    limit: int
    """How many are remembered as records."""
    _recent: dict[SyncKey, SyncRecord] = field(factory=dict)
    """From the oldest to the newest."""
    _forgotten: Hashes | None = None
    """Those that aren't among the recent any more."""
    _has_older: bool = False
    """Whether the store had more than it gave for the restore."""
    _asked: dict[str, bool] | None = None
    """Scopes that the store was asked about; whether all that's older is known since."""

    def restore(self, recent: Iterable[SyncRecord], has_older: bool) -> None:
        """Take over what the store gave."""
        self._recent = {(one.scope, one.id): one for one in recent}
        self._has_older = has_older

    def find(self, key: SyncKey) -> SyncRecord | None:
        """Return the record of a sync that was applied, if it's remembered."""
        return self._recent.get(key)

    def add(self, key: SyncKey, record: SyncRecord) -> None:
        """A sync has been applied."""
        self._recent[key] = record

    def trim(self) -> None:
        """Forget the oldest beyond the limit: the store has them."""
        recent = self._recent
        while len(recent) > self.limit:
            oldest = next(iter(recent))
            del recent[oldest]
            if self._forgotten is None:
                self._forgotten = Hashes()
            self._forgotten.add(oldest)

    @property
    def all_known(self) -> bool:
        """Whether no sync at all needs the store."""
        return not self._has_older and self._forgotten is None

    def is_known(self, key: SyncKey) -> bool:
        """Whether it is certain here if this sync was applied; if not, the store can tell."""
        if key in self._recent:
            return True
        if self._has_older and not (self._asked and self._asked.get(key[0])):
            return False
        return self._forgotten is None or key not in self._forgotten

    def unasked(self, keys: Iterable[SyncKey]) -> set[str]:
        """Return the scopes of `keys` that the store should be asked about, once: see `told`."""
        if not self._has_older:
            return set()
        return {scope for scope, _ in keys if self._asked is None or scope not in self._asked}

    def told(self, scope: str, ids: Iterable[str], *, is_all: bool) -> None:
        """The store has told ids of a scope, all that it has or too few to be certain."""
        if self._asked is None:
            self._asked = {}
        self._asked[scope] = is_all
        if not is_all:
            return
        for one in ids:
            if (scope, one) not in self._recent:
                if self._forgotten is None:
                    self._forgotten = Hashes()
                self._forgotten.add((scope, one))
