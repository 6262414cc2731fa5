"""Asking: what a program asks of a gathering without a connection."""

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import trio
from attrs import field, frozen

from squire_gatherings._hall.clients import Caller, Client, sync_scope
from squire_gatherings._hall.inbox import Request
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.opening import find
from squire_gatherings._hall.quotas import opener_of
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.room import Room
from squire_gatherings._values.checks import check_id, check_identity, check_seq, point_in_log
from squire_gatherings._values.errors import GatheringDispersed, TooBig, Unauthorized
from squire_gatherings._values.extras import PLAIN, Extras, extras
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.ids import check_gathering_id
from squire_gatherings._values.log import Page, page_from
from squire_gatherings._values.messages import Fetch, Fetched, ServerMessage, Sync, Synced
from squire_gatherings._values.op import Op


@frozen(eq=False)
class Asking:
    """Asks the living incarnation, and the next one where it ends before it answers."""

    # The repr of a `Membership` has this one in it, and these hold secrets: the ids of clients.
    _registry: Registry = field(repr=False)
    _rights: Rights = field(repr=False)

    async def submit(
        self,
        gathering_id: str,
        ops: Iterable[dict[str, Any]],
        sync_id: str | None,
        base: int | None,
        identity: Identity,
    ) -> tuple[int, ...]:
        """Submit ops. As `Hall.submit`."""
        if sync_id is None:
            sync_id = secrets.token_hex(16)
        check_id(sync_id, "a sync id")
        most = self._registry.settings.max_ops
        made: list[Op] = []
        for op in ops:
            if len(made) == most:
                raise TooBig(f"a sync has at most {most} ops")
            made.append(Op.of(op))
        if not made:
            raise ValueError("a sync has at least one op")
        sync = Sync(sync_id, 0 if base is None else check_seq(base, "base"), tuple(made))
        synced, _ = await self._ask(gathering_id, sync, identity, at_end=base is None)
        assert isinstance(synced, Synced)
        return synced.seqs

    async def fetch(
        self,
        gathering_id: str,
        since: int | None,
        at: int | datetime | None,
        identity: Identity,
        *,
        syncs: bool,
    ) -> Page:
        """Read ops, or a snapshot. As `Hall.fetch`."""
        if since is not None:
            check_seq(since, "since")
        seq, instant = (None, None) if at is None else point_in_log(at)
        fetch = Fetch("fetch", since, seq, instant)
        asked = extras(times=True, syncs=syncs)
        fetched, incarnation = await self._ask(gathering_id, fetch, identity, asked=asked)
        assert isinstance(fetched, Fetched)
        return page_from(fetched, incarnation)

    def membership(self, room: Room, client: Client) -> Membership:
        """Return the way into a room for a client that is in it."""
        return Membership(room.id, room.incarnation, self.pass_on, client)

    async def pass_on(self, gathering_id: str, client: Client, sync: Sync) -> None:
        """Have the living incarnation serve a sync whose own incarnation has ended.

        Raises:
            GatheringsError: As `Hall.submit`.

        Cancellation: the ops may or may not be applied.
        """
        if self._rights.has_changed(client):
            # It repeats the sync when it is back, with the rights that it has then.
            raise Unauthorized("its rights were changed")
        await self._ask(gathering_id, sync, client.identity, scope=client.scope)

    async def _ask(
        self,
        gathering_id: str,
        request: Request,
        identity: Identity,
        *,
        scope: str | None = None,
        at_end: bool = False,
        asked: Extras = PLAIN,
    ) -> tuple[ServerMessage, str]:
        """Return the answer, and the incarnation that gave it."""
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        check_identity(identity)
        identity = self._rights.standing(identity, gathering_id)
        scope = scope or sync_scope(identity.user, None)
        caller = Caller(identity, scope, at_end=at_end, extras=asked)
        counted = False
        try:
            while True:
                with self._rights.asking(caller, gathering_id):
                    room = await find(self._registry, gathering_id, opener_of(identity))
                    try:
                        answer = await room.ask(caller, request)
                    except GatheringDispersed:
                        caller = caller.again()
                        continue
                    counted = True
                    return answer, room.incarnation
        finally:
            self._registry.visited(gathering_id, counted=counted)
