"""The directory: which node a client is to be brought to."""

from typing import Protocol

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
