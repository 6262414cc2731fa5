"""The hall's calls where it is one of several nodes. Its `Peers` do what they say."""

import trio

from squire_gatherings._hall.ownership import Peers
from squire_gatherings._hall.registry import Registry
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.nodes import Node


class NodeCalls:
    """What a hall does as one of several nodes."""

    __slots__ = ()
    _registry: Registry
    _peers: Peers | None

    async def move(self, gathering_id: str, to: Node) -> bool:
        """Give a gathering to another node, where it goes on: its incarnation, rules and deadline.

        It falls asleep here. Its connections are closed (4010), and find it there.

        Args:
            gathering_id: Which gathering.
            to: One of `nodes`.

        Returns:
            Whether that node has it now. Not so if it isn't here, can't sleep, ends within two
            seconds, or that node takes none.

        Cancellation: it is given, or stays.
        """
        check_gathering_id(gathering_id)
        if self._peers is None:
            await trio.lowlevel.checkpoint()
            return False
        return await self._peers.move([gathering_id], to) > 0

    async def drain(self) -> int:
        """Give all gatherings to the other nodes, some at a time, and open nothing more.

        Returns:
            How many are left: they can't sleep, or there is no other node.

        Cancellation: those that are left stay here.
        """
        if self._peers is None:
            await trio.lowlevel.checkpoint()
            return len(self._registry.living)
        return await self._peers.drain()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that share the store, this one among them, as of the last beat.

        None where the store is for one hall at a time.
        """
        return () if self._peers is None else self._peers.nodes
