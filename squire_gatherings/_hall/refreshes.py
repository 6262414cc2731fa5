"""Refreshes: a client's new token is checked in a task, and its rights are those from then on."""

import logging

from attrs import define, field

from squire_gatherings._hall.clients import Client
from squire_gatherings._hall.delivery import Delivery
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.room import Room
from squire_gatherings._values.errors import Forbidden, GatheringsError
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.messages import Error, Refresh

_log = logging.getLogger(__name__)

COST = 8
"""A refresh counts as so many frames that say nothing: a program's check is work."""


@define(eq=False)
class Refreshes:
    """The refreshes of one hall that are under way, at most one of each client."""

    rights: Rights
    _under_way: set[Client] = field(factory=set)

    def begin(self, room: Room, delivery: Delivery, client: Client, refresh: Refresh) -> None:
        """Check a client's new token in a task of the room, which answers. No activity.

        Raises:
            Forbidden: The program said who it is, so no token changes that.
        """
        client.wasted(COST)
        if client.vouched:
            raise Forbidden("this client's rights aren't renewed by a token")
        if client in self._under_way:
            text = "the last token is still being checked; this one was dropped"
            client.answer(Error("rate_limited", text, refresh.id))
            return
        self._under_way.add(client)
        # As with a read from the store, a client that leaves is answered first.
        client.reads += 1
        room.nursery.start_soon(self._run, room, delivery, client, refresh)

    async def _run(self, room: Room, delivery: Delivery, client: Client, refresh: Refresh) -> None:
        try:
            # The client may go meanwhile: then nobody wants the answer any more.
            with client.under_way():
                try:
                    identity = await self.rights.identify(refresh.token, room.id, None)
                except GatheringsError as error:
                    client.fail(error, refresh.id)
                except Exception:
                    _log.exception("a refresh failed", extra=room.names())
                    text = "the server failed to check the token"
                    client.answer(Error(GatheringsError.code, text, refresh.id))
                else:
                    self._renew(room, delivery, client, identity, refresh.id)
        finally:
            self._under_way.discard(client)
            client.reads -= 1
        room.let_go(client)

    def _renew(
        self, room: Room, delivery: Delivery, client: Client, identity: Identity, refresh_id: str
    ) -> None:
        """Give a client the rights that were found, and what it missed without them."""
        if not client.attached:
            return
        if identity.user != client.identity.user:
            client.fail(Forbidden("the token is somebody else's"), refresh_id)
            return
        terms = self.rights.terms
        terms.drop(client)
        client.identity = identity
        terms.add(client)
        room.rights_changed(client)
        client.answer(terms.told(client, refresh_id))
        if client.unmute():
            delivery.go_on(client)
            room.tell_what_stands(client)
