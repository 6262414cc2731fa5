"""The hall: what a program asks of the gatherings of its process."""

import secrets
import weakref
from collections.abc import Iterable
from typing import Any

import msgspec
import trio
from attrs import define
from msgspec import UNSET

from squire_gatherings._hall.authentication import Authenticator
from squire_gatherings._hall.clients import Caller, Client, sync_scope
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.inbox import JoinRequest, Request
from squire_gatherings._hall.joining import check_known, read_for_join
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.store import Store
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._values.checks import (
    check_epoch,
    check_id,
    check_identity,
    check_proof,
    check_seq,
)
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringDispersed, TooBig
from squire_gatherings._values.handshake import HandshakeRequest
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.ids import check_gathering_id, new_client_id
from squire_gatherings._values.log import LoggedOp, Page
from squire_gatherings._values.messages import (
    Dispersed,
    Fetch,
    Fetched,
    Joined,
    Proof,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.numbers import HallNumbers
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing
from squire_gatherings._values.settings import HallSettings


@define(eq=False)
class Hall:
    """The gatherings of one process. Made by `open_hall`.

    Every method that takes a gathering's id raises `BadGatheringId` if it can't be one, and
    `HallClosed` once the hall is closing. Those that open the gathering also raise
    `StoreUnavailable`, or `GatheringCrashed` when its behaviour fails to restore it.

    Every async method is a checkpoint, also where it need not wait. One that is cancelled
    before it began has done nothing; its docstring says what else cancellation does.
    """

    settings: HallSettings
    store: Store
    _authenticator: Authenticator
    _registry: Registry
    _asked: int = 0
    """How many joins were asked for."""

    # Joining.

    async def join(
        self,
        gathering_id: str,
        connection: Connection,
        *,
        since: int | None = None,
        epoch: str | None = None,
        client: str | None = None,
        resume: str | None = None,
        token: str | None = None,
        request: HandshakeRequest | None = None,
        identity: Identity | None = None,
        tail: bool = False,
        times: bool = False,
        proof: bool = False,
        known: Proof | None = None,
    ) -> Membership:
        """Join a gathering, which is opened if need be; `joined` goes to the connection.

        A join that meets a gathering while it disperses waits for the next incarnation. Of
        several connections of the same `client`, the one that asked last is in the gathering.

        Args:
            gathering_id: Which gathering.
            connection: Takes what the client is told, `joined` first.
            since: The last seq that the client has.
            epoch: The epoch of that op.
            client: The client's own random id. If there is none, one is made, and told in
                `joined`.
            resume: The incarnation to which a client returns by itself, with nothing new. That is
                no activity, and doesn't wake a gathering that has ended meanwhile.
            token: What the hall's `authenticate` gets, where there is no `identity`.
            request: By what the client came, if it came by one; `authenticate` sees it.
            identity: Who the client is, as the caller knows already.
            tail: Without `since`, the client is given nothing of what came before the join.
            times: The client is told the times of ops.
            proof: The client is told what proves the log (see `Proof`).
            known: Such a proof, which the client was told before.

        Returns:
            The client's way into the gathering.

        Raises:
            Unauthorized: `authenticate` refused the client.
            AuthenticationUnavailable: It can't tell now, or not within `authenticate_timeout`.
            Replaced: Another connection of the same client asked later.
            BadBase: `since` lies beyond the end of the log.
            LogReplaced: The log isn't that of `epoch`, or not that of `known`.
            GatheringDispersed: `resume` has ended; the notice was sent and the connection closed.

        Cancellation: the connection isn't in the gathering.
        """
        check_gathering_id(gathering_id)
        if since is not None:
            check_seq(since, "since")
        if epoch is not None:
            check_epoch(epoch)
        if known is not None:
            check_proof(known)
        for what, text in (("client", client), ("resume", resume)):
            if text is not None:
                check_id(text, what)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._asked += 1
        asked = self._asked
        if identity is None:
            identity = await self._authenticator.identify(token, gathering_id, request)
        check_identity(identity)
        made = new_client_id() if client is None else None
        client = made or client
        scope = sync_scope(identity.user, client)
        settings, registry = self.settings, self._registry
        wants_past = since is not None or not tail
        try:
            while True:
                window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
                joiner = Client(
                    0,
                    connection,
                    identity,
                    client,
                    scope,
                    window,
                    asked=asked,
                    times=bool(times),
                    proof=bool(proof),
                )
                if resume is not None:
                    notice = await registry.missed_notice(gathering_id, resume, since)
                    if notice is not None:
                        _say_goodbye(joiner, notice)
                        raise GatheringDispersed(f"gathering {gathering_id} has dispersed")
                room = await registry.find(gathering_id)
                page: tuple[LoggedOp, ...] = ()
                if wants_past or known is not None:
                    with registry.living[gathering_id].reading() as reading:
                        if known is not None:
                            await check_known(room, known)
                        if wants_past:
                            page = await read_for_join(room, since, epoch)
                    if reading.cancelled_caught:
                        continue
                joiner.number = room.next_number()
                asking = JoinRequest(
                    joiner, since, page, epoch, made, resume is None, not wants_past
                )
                try:
                    joined = await room.ask(Caller(identity, scope), asking)
                except GatheringDispersed:
                    continue
                except trio.Cancelled:
                    asking.abandoned = True
                    if joiner.attached:
                        room.gone(joiner)
                    raise
                assert isinstance(joined, Joined)
                return Membership(
                    gathering_id, joined.incarnation, self._pass_on, weakref.ref(room), joiner
                )
        finally:
            registry.visited(gathering_id, counted=False)

    async def open(self, gathering_id: str) -> None:
        """Open a gathering, unless it is open. It disperses in time, even if nobody ever joins.

        Cancellation: the opening is given up, unless somebody else waits for it, too.
        """
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        room = await self._registry.find(gathering_id)
        room.is_wanted = True
        self._registry.visited(gathering_id, counted=False)
        await trio.lowlevel.cancel_shielded_checkpoint()

    # Asking without a connection.

    async def submit(
        self,
        gathering_id: str,
        ops: Iterable[dict[str, Any]],
        *,
        sync_id: str | None = None,
        base: int | None = None,
        identity: Identity = ANONYMOUS,
    ) -> tuple[int, ...]:
        """Submit ops as a sync of its own.

        Args:
            gathering_id: Which gathering.
            ops: One or more JSON objects.
            sync_id: 1 to 128 characters. A sync of the same user with the same id is applied
                once, however often it is submitted. If there is none, a random one is made.
            base: The last seq on which the ops build; by default the end of the log at the moment
                at which they are judged.
            identity: Who submits.

        Returns:
            The ops' seqs, once the ops are durable.

        Raises:
            OpRejected: The behaviour takes no such op.
            OpConflict: The behaviour can't merge them with what came after `base`.
            Forbidden: The identity may not submit.
            BadBase: `base` lies beyond the end of the log.
            SyncIdReused: The id was used before, for other ops.
            TooBig: There are more than `max_ops` ops.
            ValueError: The ops aren't JSON, or `base` or `sync_id` can't be one.

        Cancellation: the ops may or may not be applied.
        """
        if sync_id is None:
            sync_id = secrets.token_hex(16)
        check_id(sync_id, "a sync id")
        made: list[Op] = []
        for op in ops:
            if len(made) == self.settings.max_ops:
                raise TooBig(f"a sync has at most {self.settings.max_ops} ops")
            made.append(Op.of(op))
        if not made:
            raise ValueError("a sync has at least one op")
        sync = Sync(sync_id, 0 if base is None else check_seq(base, "base"), tuple(made))
        synced, _ = await self._ask(gathering_id, sync, identity, at_end=base is None)
        assert isinstance(synced, Synced)
        return synced.seqs

    async def fetch(
        self, gathering_id: str, *, since: int | None = None, identity: Identity = ANONYMOUS
    ) -> Page:
        """Read the ops after `since`, or a snapshot. Counts as activity; `snapshot` doesn't.

        Args:
            gathering_id: Which gathering.
            since: The last seq that isn't wanted.
            identity: Who reads.

        Returns:
            As many of the ops as fit into one message (`batch_bytes`). Where they end before
            `seq`, fetch again.

        Raises:
            BadBase: `since` lies beyond the end of the log.
            ValueError: `since` can't be a seq.

        Cancellation: nothing is read any more.
        """
        if since is not None:
            check_seq(since, "since")
        fetch = Fetch("fetch", since)
        fetched, incarnation = await self._ask(gathering_id, fetch, identity, times=True)
        assert isinstance(fetched, Fetched)
        if isinstance(fetched.snapshot, msgspec.Raw):
            state = msgspec.json.decode(fetched.snapshot)
            return Page(seq=fetched.seq, snapshot=state, is_snapshot=True)
        ops, by = fetched.ops or (), fetched.by or ()
        epoch = (incarnation if fetched.epoch is UNSET else fetched.epoch) if ops else None
        return Page(seq=fetched.seq, ops=ops, by=by, times=fetched.times or (), epoch=epoch)

    async def _pass_on(self, gathering_id: str, client: Client, sync: Sync) -> None:
        """Have the living incarnation serve a sync whose own incarnation has ended."""
        await self._ask(gathering_id, sync, client.identity, scope=client.scope)

    # Ending.

    async def disperse(
        self, gathering_id: str, reason: DispersalReason = DispersalReason.ADMIN
    ) -> bool:
        """Disperse a gathering now, and wait until it is gone.

        What has arrived before is processed first.

        Returns:
            Whether it was there.

        Cancellation: it goes on dispersing.
        """
        check_gathering_id(gathering_id)
        reason = DispersalReason(reason)
        await trio.lowlevel.checkpoint_if_cancelled()
        incarnation = self._registry.living.get(gathering_id)
        if incarnation is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return False
        await incarnation.wait_opened()
        incarnation.room.end(reason)
        await incarnation.wait_gone()
        return True

    async def close(self) -> None:
        """Disperse everything with reason `shutdown`; take nothing more.

        What is still being processed after `close_grace` seconds is cancelled. Returns when all
        are gone; no client can delay that further. Later calls do the same.

        Cancellation: the closing goes on by itself, and waits for what is being processed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._registry.close(trio.current_time() + self.settings.close_grace)
        await trio.lowlevel.cancel_shielded_checkpoint()

    # What counts as no activity.

    def gatherings(self) -> tuple[str, ...]:
        """Return the ids of the gatherings that are open now."""
        living = self._registry.living
        return tuple(name for name, one in living.items() if one.room.accepting)

    def snapshot(self) -> HallNumbers:
        """Return the numbers of the hall and of every open gathering."""
        registry = self._registry
        rooms = (one.room for one in registry.living.values())
        numbers = tuple(room.numbers() for room in rooms if room.accepting)
        return HallNumbers(
            now=trio.current_time(),
            gatherings=numbers,
            clients=sum(one.clients for one in numbers),
            opened=registry.opened,
            crashed=registry.ended[DispersalReason.CRASHED],
            dispersed={str(reason): n for reason, n in registry.ended.items()},
        )

    async def _ask(
        self,
        gathering_id: str,
        request: Request,
        identity: Identity,
        *,
        scope: str | None = None,
        at_end: bool = False,
        times: bool = False,
    ) -> tuple[ServerMessage, str]:
        """Return the answer, and the incarnation that gave it."""
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        check_identity(identity)
        scope = scope or sync_scope(identity.user, None)
        caller = Caller(identity, scope, at_end=at_end, times=times)
        counted = False
        try:
            while True:
                room = await self._registry.find(gathering_id)
                try:
                    answer = await room.ask(caller, request)
                except GatheringDispersed:
                    caller = caller.again()
                    continue
                counted = True
                return answer, room.incarnation
        finally:
            self._registry.visited(gathering_id, counted=counted)


def _say_goodbye(client: Client, notice: Dispersed) -> None:
    """Send a client what it has missed, and close its connection: it isn't let in."""
    reason = DispersalReason(notice.reason)
    client.send(Outgoing(notice))
    client.close(reason.close_code, reason)
