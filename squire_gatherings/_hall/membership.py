"""Membership: what the owner of a joined connection holds; its messages go in through it."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import trio
from attrs import define

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.sleeper import Sleeper
from squire_gatherings._rules.op_log import OP_OVERHEAD
from squire_gatherings._values.checks import check_message
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import ClientMessage, Sync
from squire_gatherings._values.op import Op

MESSAGE_COST = 300
"""About how many bytes of memory a message in the inbox takes, besides its ops."""

SINGLE_COST = MESSAGE_COST + OP_OVERHEAD
"""The same of a message with a single op, besides that op's bytes."""


@define(eq=False)
class Membership:
    """One client's way into its gathering, which may have dispersed at any time.

    A sync that comes after the point of no return is served by the next incarnation, unless the
    gathering crashed. Its answer finds no connection any more: the client repeats the sync with
    the same id, and is answered then. Other late messages mean nothing to the next incarnation.

    It keeps no gathering alive: after the end, a membership that is still held is all that is
    left. Where its gathering sleeps, a message wakes it.
    """

    gathering_id: str
    incarnation: str
    _pass_on: Callable[[str, Client, Sync], Awaitable[None]]
    """Has the next incarnation serve a sync of this client."""
    _client: Client
    _is_detached: bool = False

    @property
    def identity(self) -> Identity:
        """Who the client is."""
        return self._client.identity

    def deliver_nowait(self, message: ClientMessage) -> None:
        """Put a message of this client into the inbox.

        Raises:
            trio.WouldBlock: It must wait, since too many of this client's messages are unprocessed,
                or since the next incarnation is needed; call `deliver` then.
            BadRequest: It isn't a message, or has values that none can have.
        """
        check_message(message)
        self.take_nowait(message)

    def take_nowait(self, message: ClientMessage) -> bool:
        """As `deliver_nowait`, for a message that a codec has decoded, and so checked.

        Returns:
            Whether more may come. Otherwise what the client says goes nowhere from now on: it
            left, was replaced or was given up.
        """
        client = self._client
        room = client.room
        if room is None or not room.accepting:
            if not isinstance(room, Sleeper):
                return self._is_late(message)
            if room.takes(client, message):
                return True
            room = room.rouse()
        if TYPE_CHECKING:
            assert isinstance(room, Room)
        if client.waiting:
            settings = room.settings
            if client.waiting >= settings.inbox_limit or client.cost >= settings.inbox_bytes:
                raise trio.WouldBlock
            if isinstance(message, Sync):
                ops = message.ops
                cost = SINGLE_COST + len(ops[0].json) if len(ops) == 1 else _cost(ops)
                client.cost += cost
                room.inbox.cost += cost
                room.inbox.budget.inboxes += cost
        client.waiting += 1
        room.inbox.put(client, message)
        return True

    async def deliver(self, message: ClientMessage) -> None:
        """Put a message into the inbox; wait while too many of this client's are there.

        That the gathering has ended is no error.

        Raises:
            BadRequest: It isn't a message, or has values that none can have.

        Cancellation: the message wasn't taken, or it is a sync that the next incarnation may or
        may not apply: repeat it. Always a checkpoint.
        """
        check_message(message)
        await self.take(message)

    async def take(self, message: ClientMessage) -> None:
        """As `deliver`, for a message that a codec has decoded, and so checked."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                self.take_nowait(message)
            except trio.WouldBlock:
                pass
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
            room = self._client.room
            if room is None or not (room.accepting or isinstance(room, Sleeper)):
                break
            if self._client.space is None:
                self._client.space = trio.Event()
            await self._client.space.wait()
        if isinstance(message, Sync):
            # The connection is closed: nobody is there to hear why it failed, either.
            with contextlib.suppress(GatheringsError):
                await self._pass_on(self.gathering_id, self._client, message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def detach(self, *, left: bool = False) -> None:
        """The connection has ended: the gathering forgets it. Later calls do nothing.

        Args:
            left: Whether the client has said goodbye, by the close code 1000, and won't come back:
                then it isn't shown any longer among those who are here (see docs/presence.md).
        """
        client, self._is_detached = self._client, True
        if client.room is not None:
            client.leaving = client.leaving or left
            client.room.gone(client)

    def _is_late(self, message: ClientMessage) -> bool:
        """Say what becomes of a message that no incarnation takes which the client was in.

        Returns:
            Whether more may come.

        Raises:
            trio.WouldBlock: It is one for the next incarnation.
        """
        client = self._client
        if self._is_detached or (client.room is None and not client.is_bereft):
            # It left, was replaced or was given up: its gathering goes on without it.
            return False
        # What it had sent before a crash may be lost, and is repeated: it can't be overtaken.
        if isinstance(message, Sync) and not client.was_crashed:
            raise trio.WouldBlock
        return True


def _cost(ops: Iterable[Op]) -> int:
    """Return about how many bytes of memory a sync of these ops takes in the inbox."""
    return MESSAGE_COST + sum(OP_OVERHEAD + len(op.json) for op in ops)
