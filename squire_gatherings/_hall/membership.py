"""Membership: what a joined connection's owner holds, and through which its messages go in."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

import trio
from attrs import define

from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.senders import Onlooker
from squire_gatherings._values.checks import check_message
from squire_gatherings._values.errors import GatheringsError
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import ClientMessage, Sync

if TYPE_CHECKING:
    from squire_gatherings._hall.hall import Hall


@define(eq=False)
class Membership:
    """One onlooker's way into its gathering, which may have dispersed at any time.

    A sync that comes after the point of no return, unless that was a crash, is served by the next
    incarnation, though its answer finds no connection any more: the client repeats it with the same
    id and is answered then. Other late messages mean nothing to the next incarnation.

    It keeps no gathering alive: who holds a membership after the end holds nothing else.
    """

    gathering_id: str
    incarnation: str
    _hall: Hall
    _gathering: weakref.ref[Gathering] | None
    """None once the onlooker is out of it."""
    _onlooker: Onlooker

    @property
    def identity(self) -> Identity:
        """Who the onlooker is, as authentication found."""
        return self._onlooker.identity

    @property
    def is_over(self) -> bool:
        """Whether what the onlooker says goes nowhere: it left, was replaced or given up."""
        return self._gathering is None

    def deliver_nowait(self, message: ClientMessage) -> None:
        """Put a message of this onlooker into the inbox.

        Raises `trio.WouldBlock` when it must wait: too many of this onlooker's messages
        are unprocessed, or the next incarnation is needed; call `deliver` then. Raises
        `BadRequest` for what isn't a message, or has values that none can have.
        """
        check_message(message)
        self.take_nowait(message)

    def take_nowait(self, message: ClientMessage) -> None:
        """As `deliver_nowait`, for a message that a codec has decoded, and so checked."""
        if self._gathering is None:
            return
        onlooker = self._onlooker
        gathering = self._gathering()
        if gathering is None or not gathering.accepting:
            # What it had sent before a crash may be lost, and is repeated: it can't be overtaken.
            if isinstance(message, Sync) and not onlooker.was_crashed:
                raise trio.WouldBlock
            return
        if not onlooker.attached:
            # It left, was replaced or was given up: its gathering goes on without it.
            self._gathering = None
            return
        settings = gathering.settings
        if onlooker.waiting and (
            onlooker.waiting >= settings.inbox_limit or onlooker.cost >= settings.inbox_bytes
        ):
            raise trio.WouldBlock
        gathering.put_from(onlooker, message)

    async def deliver(self, message: ClientMessage) -> None:
        """Put a message into the inbox; wait while too many of this onlooker's are there.

        Never raises because the gathering ended. Raises `BadRequest` as `deliver_nowait` does. A
        checkpoint. When cancelled, the message wasn't taken, or is a sync that the next incarnation
        may or may not apply: repeat it.
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
            if self._is_late():
                break
            if self._onlooker.room is None:
                self._onlooker.room = trio.Event()
            await self._onlooker.room.wait()
        if isinstance(message, Sync):
            # The connection is closed: nobody is there to hear why it failed, either.
            with contextlib.suppress(GatheringsError):
                await self._hall._pass_on(self.gathering_id, self._onlooker, message)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def detach(self) -> None:
        """The connection has ended: the gathering forgets it. Later calls do nothing."""
        gathering = None if self._gathering is None else self._gathering()
        self._gathering = None
        if gathering is not None:
            gathering.gone(self._onlooker)

    def _is_late(self) -> bool:
        gathering = None if self._gathering is None else self._gathering()
        return gathering is None or not gathering.accepting
