"""The directory: which node a client is to be brought to."""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from squire_gatherings._rules.shards import shard_of
from squire_gatherings._values.nodes import Node


class Directory(Protocol):
    """Says where a gathering is.

    Between a static one (workers whose files are shards) and one that asks a store that all nodes
    share, nothing differs for those who bring connections.
    """

    async def find(self, gathering: str, *, passed: int) -> Node | None:
        """Return the node that has a gathering, or is to open it; None if that's this one.

        Args:
            gathering: Which gathering.
            passed: How many nodes have sent the connection on so far. A node that was told of an
                owner that isn't sends it on again, once or twice.

        Raises:
            StoreUnavailable: Nobody can say now.

        Cancellation: nothing is changed.
        """
        ...

    def forget(self, gathering: str) -> None:
        """Look anew where a gathering is, when it's asked for next: the last answer may be old."""
        ...


@frozen
class ShardDirectory:
    """The directory of workers of one machine, each of which has one shard of the gatherings."""

    workers: Sequence[Node]
    """By the number of their shard."""
    own: int
    """The number of this process."""

    async def find(self, gathering: str, *, passed: int) -> Node | None:
        """See `Directory`. No checkpoint: nobody is asked."""
        shard = shard_of(gathering, len(self.workers))
        return None if shard == self.own else self.workers[shard]

    def forget(self, gathering: str) -> None:
        """See `Directory`. A gathering's shard never changes."""
