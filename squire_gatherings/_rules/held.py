"""Held: what has arrived at a replica, until it is known which of the ops are its own."""

from attrs import frozen

from squire_gatherings._values.messages import Sync, SyncRun
from squire_gatherings._values.op import Op


@frozen
class HeldOps:
    """Ops as they came."""

    first: int
    ops: tuple[Op, ...]
    by: tuple[str | None, ...]
    times: tuple[int, ...]
    """None of them where the server doesn't say."""
    syncs: tuple[SyncRun, ...]

    @property
    def last(self) -> int:
        """The seq of the last of its ops."""
        return self.first + len(self.ops) - 1


@frozen
class HeldSync:
    """A sync of ours, applied under these seqs; its ops aren't sent back to us.

    `logged` are what the server made of them; None where it doesn't say. So is `time` 0.
    """

    first: int
    sync: Sync
    logged: tuple[Op, ...] | None
    time: int

    @property
    def last(self) -> int:
        """The seq of the last of its ops."""
        return self.first + len(self.sync.ops) - 1


@frozen
class HeldState:
    """The state after `last`, instead of ops."""

    last: int
    state: bytes
