"""The archive: what is said of logs that are kept, and how a whole log goes from store to store."""

from collections.abc import Iterable

from attrs import frozen

from squire_gatherings._values.log import Append, SyncRecord


@frozen
class Tombstone:
    """What is left of a log that was deleted.

    `seq` was its last op, `head` is the head of its chain after that, and `time` is when it was
    deleted, in milliseconds since 1970 (UTC). The next log of this id goes on with that chain.
    """

    gathering: str
    seq: int
    head: bytes
    time: int


@frozen(kw_only=True)
class LogInfo:
    """What a store says of one gathering's log. Times are in milliseconds since 1970 (UTC)."""

    gathering: str
    """Its id."""
    first_seq: int = 1
    """The first op that is there; those before it were left out by compaction."""
    seq: int = 0
    """The last op."""
    first_time: int = 0
    """The time of the first op that is there."""
    last_time: int = 0
    """The time of the last op, also if that was left out."""
    size: int = 0
    """How many bytes the ops have."""
    syncs: int = 0
    """How many syncs are remembered, also those whose ops were left out."""
    snapshots: tuple[int, ...] = ()
    """The seqs of the ops after which there are snapshots."""
    before: bytes = b""
    """The head of the chain before the first op that is there."""
    epoch_before: str = ""
    """The epoch of the op before that one."""
    time_before: int = 0
    """The time of the op before that one."""
    head: bytes = b""
    """The head of the chain after the last op."""
    tombstone: Tombstone | None = None
    """What was left of an earlier log of this id. Where `is_deleted`, that is all there is."""

    @property
    def is_deleted(self) -> bool:
        """Whether there is a tombstone, and no log that began after it."""
        return self.tombstone is not None and not self.seq


@frozen(kw_only=True)
class LogCopy:
    """A whole log, for a store to take in.

    Each of the `links` is an append as it was committed; its `gathering` is the id that the chain
    has for it, which of a fork's first ops is that of the log that was forked.
    """

    gathering: str
    """The id under which it is taken in."""
    first_seq: int = 1
    before: bytes = b""
    epoch_before: str = ""
    time_before: int = 0
    older_syncs: tuple[SyncRecord, ...] = ()
    """Those whose ops were left out by compaction."""
    links: Iterable[Append]
    """Read once, in a thread where the store has one; what reading raises undoes all."""
