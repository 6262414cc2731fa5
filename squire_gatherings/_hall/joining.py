"""Joining: what a client asks for that wants in; one incarnation after the other may be asked."""

from collections.abc import Hashable

import trio
from attrs import field, frozen

from squire_gatherings._hall.archive import read_syncs
from squire_gatherings._hall.clients import Caller, Client, sync_scope
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.inbox import JoinRequest
from squire_gatherings._hall.opening import find
from squire_gatherings._hall.proving import check_known, is_unproven, read_proof
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.room import Room
from squire_gatherings._hall.store import read_page
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._values.checks import check_epoch, check_id, check_proof, check_seq
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import GatheringDispersed, LogReplaced
from squire_gatherings._values.extras import PLAIN, Extras
from squire_gatherings._values.identity import Identity
from squire_gatherings._values.ids import check_gathering_id, new_client_id
from squire_gatherings._values.log import LoggedOp, Shown
from squire_gatherings._values.messages import Dispersed, Joined, Proof, SyncRun
from squire_gatherings._values.op import Op
from squire_gatherings._values.outgoing import Outgoing


def check_asked(
    gathering_id: str,
    since: int | None,
    epoch: str | None,
    known: Proof | None,
    client: str | None,
    resume: str | None,
) -> None:
    """Check what a program asks for in a client's name, as for `Hall.join`.

    Raises:
        BadGatheringId: It can't be an id.
        BadRequest: One of the others can't be what it is.
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


@frozen(eq=False)
class Joining:
    """What one client asks for that wants in; the fields are as for `Hall.join`."""

    gathering_id: str
    connection: Connection
    opener: Hashable
    """The gathering counts as this opener's if it must be opened."""
    client: str | None = field(repr=False)
    vouched: bool
    """Whether the program said who it is."""
    asked: int
    """The number of this join, which grows with each."""
    since: int | None
    epoch: str | None
    resume: str | None
    tail: bool
    extras: Extras = PLAIN
    proof: bool = False
    known: Proof | None = None
    presence: Op | None = None

    async def until_answered(
        self, identity: Identity, registry: Registry, rights: Rights
    ) -> tuple[Client, Joined, Room]:
        """Ask until an incarnation answers. What it is told is sent to the connection.

        Raises:
            GatheringsError: As `Hall.join`.

        Cancellation: the connection isn't in the gathering.
        """
        made = new_client_id() if self.client is None else None
        scope = sync_scope(identity.user, made or self.client)
        caller = Caller(identity, scope)
        while True:
            # What the program says of this user meanwhile holds for it, too.
            with rights.asking(caller, self.gathering_id):
                found = await self._ask(caller, made, registry, rights)
                if found is not None:
                    return found
                caller = caller.again()

    async def _ask(
        self, caller: Caller, made: str | None, registry: Registry, rights: Rights
    ) -> tuple[Client, Joined, Room] | None:
        """Ask the living incarnation; None if it has ended meanwhile."""
        settings, since = registry.settings, self.since
        window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
        joiner = Client(
            0,
            self.connection,
            caller.identity,
            self.vouched,
            caller.scope,
            window,
            asked=self.asked,
            extras=self.extras,
            proof=self.proof,
        )
        if self.resume is not None:
            notice = await registry.missed_notice(self.gathering_id, self.resume, since)
            if notice is not None:
                rights.check(caller.identity)
                _say_goodbye(joiner, notice)
                raise GatheringDispersed(f"gathering {self.gathering_id} has dispersed")
        room = await find(registry, self.gathering_id, self.opener)
        page = Shown()
        wants_past = since is not None or not self.tail
        wants_proof = self.proof and is_unproven(room)
        if wants_past or self.known is not None or wants_proof:
            with registry.reading(self.gathering_id) as reading:
                if self.known is not None:
                    await check_known(room, self.known)
                if wants_proof:
                    await read_proof(room)
                if wants_past:
                    page = await read_for_join(room, since, self.epoch, self.extras)
            if reading.cancelled_caught:
                return None
        joiner.number = room.next_number()
        is_activity = self.resume is None
        asking = JoinRequest(
            joiner, since, page, self.epoch, made, is_activity, not wants_past, self.presence
        )
        try:
            joined = await room.ask(caller, asking)
        except GatheringDispersed:
            return None
        except trio.Cancelled:
            asking.abandoned = True
            if joiner.attached:
                room.gone(joiner)
            raise
        assert isinstance(joined, Joined)
        return joiner, joined, room


def _say_goodbye(client: Client, notice: Dispersed) -> None:
    """Send a client what it has missed, and close its connection: it isn't let in."""
    reason = DispersalReason(notice.reason)
    client.send(Outgoing(notice))
    client.close(reason.close_code, reason)


async def read_for_join(room: Room, since: int | None, epoch: str | None, extras: Extras) -> Shown:
    """Read what a joining client lacks and only the store has.

    Args:
        room: Where the client joins.
        since: The last seq that it has.
        epoch: What it takes for that op's epoch.
        extras: What it is told besides.

    Raises:
        LogReplaced: It knows another log.
        StoreUnavailable: The store can't be read now.

    Cancellation: nothing happened.
    """
    log = room.log
    after = since or 0
    expected = epoch if after else None
    if after < log.first_seq - 1:
        # Nobody can tell any more what was there.
        after, expected = log.first_seq - 1, None
    page: tuple[LoggedOp, ...] = ()
    is_served = not room.serves_snapshots and after + 1 < log.tail_start
    found = log.epoch_of(after)
    if is_served or (expected is not None and found is None and after < log.tail_start):
        # The page begins with the client's last op, whose epoch says whether it's the same log.
        known = 1 if after >= log.first_seq else 0
        page = await read_page(
            room.store,
            room.id,
            after=after - known,
            up_to=log.committed if is_served else after,
            max_bytes=room.settings.batch_bytes,
        )
        if known:
            found = page[0].epoch if page else None
            page = page[1:]
        if is_served and known and not page:
            # The client's last op alone filled it.
            page = await read_page(
                room.store,
                room.id,
                after=after,
                up_to=log.committed,
                max_bytes=room.settings.batch_bytes,
            )
    syncs: tuple[SyncRun, ...] = ()
    if page and extras.syncs:
        syncs = await read_syncs(room.store, room.id, after=after, up_to=after + len(page))
    if expected is None:
        return Shown(after, page, syncs)
    # Nobody is told of an op that isn't durable. It's decided here, where the log's end is what
    # it is: until the join is processed, another op may get that seq.
    if after > log.committed:
        raise LogReplaced(f"since is {after}, but the last op is {log.committed}")
    if found != expected:
        raise LogReplaced(f"op {after} isn't the one that the client has: it's another log")
    return Shown(after, page, syncs)
