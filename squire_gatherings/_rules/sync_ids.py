"""Sync ids: knows which syncs were applied, so that none is applied twice, however old.

The newest are remembered as records. Once some are forgotten, a filter knows all ids, so that most
new ones needn't be looked up in the store. About syncs from before this incarnation, the store must
be asked once for each scope.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random

from attrs import define, field

from squire_gatherings._values.log import SyncRecord

SyncKey = tuple[str, str]
"""The scope and the id of a sync."""

TRIMMED_AT_ONCE = 32
"""How many records there may be beyond the limit: it's cheaper to forget many at once."""

_FIRST_BLOCKS = 1024
_GROWTH = 4
_KEYS_IN_A_BLOCK = 2
_BITS = 4


def _patterns() -> Iterator[int]:
    """Yield numbers of 64 bits of which four are set, at random."""
    draw = Random("which bits stand for a key").getrandbits
    while True:
        number = draw(24)
        pattern = 1 << (number & 63) | 1 << (number >> 6 & 63)
        pattern |= 1 << (number >> 12 & 63) | 1 << (number >> 18)
        if pattern.bit_count() == _BITS:
            yield pattern


_PATTERNS = tuple(islice(_patterns(), 4096))
"""The bits of a block that stand for a key. To look them up is cheaper than to compute them."""


class LookupNeeded(Exception):
    """Only the store can tell whether a sync was applied."""


@define(eq=False)
class Filter:
    """A set of keys in four bytes each. It takes about one in 2,000 other keys for a member.

    It is a Bloom filter whose four bits for a key lie in one block of 64 (Putze, Sanders and
    Singler, Cache-, Hash- and Space-Efficient Bloom Filters, 2007). A part that is full is followed
    by a larger one (Almeida et al., Scalable Bloom Filters, 2007). Python's hash of a string has a
    secret seed: nobody outside can choose keys that meet in one block.
    """

    parts: "list[tuple[array[int], int]]" = field(factory=list)
    """The blocks of each part, and the mask that makes a hash an index of them."""
    _room: int = 0
    """How many keys the last part still takes."""

    def add(self, key: SyncKey) -> None:
        """Remember a key."""
        if not self._room:
            self._grow()
        self._room -= 1
        blocks, mask = self.parts[-1]
        number = hash(key)
        blocks[number & mask] |= _PATTERNS[number >> 32 & 4095]

    def __contains__(self, key: SyncKey) -> bool:
        number = hash(key)
        # The upper half of the hash chooses the bits, the lower half chooses the block.
        bits = _PATTERNS[number >> 32 & 4095]
        for blocks, mask in self.parts:  # noqa: SIM110 (a generator would take twice as long)
            if blocks[number & mask] & bits == bits:
                return True
        return False

    def _grow(self) -> None:
        size = _GROWTH * len(self.parts[-1][0]) if self.parts else _FIRST_BLOCKS
        self.parts.append((array("Q", bytes(8 * size)), size - 1))
        self._room = size * _KEYS_IN_A_BLOCK


@define(eq=False)
class SyncIds:
    """What one incarnation knows of the syncs that were applied."""

    limit: int
    """How many syncs are remembered as records, at least."""
    _recent: dict[SyncKey, SyncRecord] = field(factory=dict)
    """From the oldest to the newest."""
    _seen: Filter | None = None
    """All known keys, once there are more than the recent ones."""
    _has_older: bool = False
    """Whether the store has more than it gave for the restore."""
    _asked: dict[str, bool] | None = None
    """The scopes that the store was asked about, and whether it told everything older of them."""

    def restore(self, recent: Iterable[SyncRecord], has_older: bool) -> None:
        """Take over what the store gave."""
        self._recent = {(one.scope, one.id): one for one in recent}
        self._has_older = has_older

    def find(self, key: SyncKey) -> SyncRecord | None:
        """Return the record of a sync; None if it is certain that it was never applied.

        Raises:
            LookupNeeded: Only the store can tell.
        """
        seen = self._seen
        if seen is not None and not self._has_older:
            # As `key not in seen`, without the call. That's true of almost all.
            number = hash(key)
            bits = _PATTERNS[number >> 32 & 4095]
            for blocks, mask in seen.parts:
                if blocks[number & mask] & bits == bits:
                    break
            else:
                return None
        record = self._recent.get(key)
        if record is None:
            if self._has_older and not (self._asked and self._asked.get(key[0])):
                raise LookupNeeded
            if seen is not None and key in seen:
                raise LookupNeeded
        return record

    def add(self, key: SyncKey, record: SyncRecord) -> None:
        """Note that a sync has been applied."""
        self._recent[key] = record
        if self._seen is not None:
            self._seen.add(key)

    def since(self, seq: int, up_to: int) -> list[SyncRecord]:
        """Return the records of ops after one seq, up to another; only those that it remembers."""
        found: list[SyncRecord] = []
        for record in reversed(self._recent.values()):
            if record.first_seq <= seq:
                break
            if record.last_seq <= up_to:
                found.append(record)
        found.reverse()
        return found

    def trim(self) -> None:
        """Forget the oldest records, if there are too many: the store has them."""
        too_many = len(self._recent) - self.limit
        if too_many > TRIMMED_AT_ONCE:
            self._see()
            for key in tuple(islice(self._recent, too_many)):
                del self._recent[key]

    def unasked(self, keys: Iterable[SyncKey]) -> set[str]:
        """Return the scopes of `keys` that the store should be asked about; then call `told`."""
        if not self._has_older:
            return set()
        return {scope for scope, _ in keys if self._asked is None or scope not in self._asked}

    def told(self, scope: str, ids: Iterable[str], *, is_all: bool) -> None:
        """Take the ids of a scope that the store has told.

        Args:
            scope: The scope.
            ids: The ids.
            is_all: Whether these are all that the store has.
        """
        if self._asked is None:
            self._asked = {}
        self._asked[scope] = is_all
        if is_all:
            seen = self._see()
            for one in ids:
                seen.add((scope, one))

    def _see(self) -> Filter:
        if self._seen is None:
            self._seen = Filter()
            for key in self._recent:
                self._seen.add(key)
        return self._seen
