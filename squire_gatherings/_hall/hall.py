"""The hall: owns every gathering of a process, opens them on demand, reaps them when they end."""

import logging
import secrets
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Unpack

import trio
from attrs import define, evolve, field

from squire_gatherings._hall.authentication import Authenticate, admit_everybody, authenticated
from squire_gatherings._hall.connection import Connection
from squire_gatherings._hall.dispersal import say_goodbye
from squire_gatherings._hall.gathering import Gathering
from squire_gatherings._hall.lives import Endings, Life
from squire_gatherings._hall.membership import Membership
from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.requests import JoinRequest, Request
from squire_gatherings._hall.senders import Caller, Onlooker, sync_scope
from squire_gatherings._hall.store import Store, read_page
from squire_gatherings._rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings._rules.delivery_window import DeliveryWindow
from squire_gatherings._rules.poison import Poison
from squire_gatherings._values.checks import check_epoch, check_id, check_identity, check_seq
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.errors import (
    GatheringDispersed,
    GatheringsError,
    HallClosed,
    LogReplaced,
    TooBig,
)
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.ids import (
    check_gathering_id,
    new_client_id,
    new_hall_mark,
    new_incarnation_id,
)
from squire_gatherings._values.log import LoggedOp
from squire_gatherings._values.messages import (
    Dispersed,
    Fetch,
    Fetched,
    Joined,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings._values.numbers import GatheringNumbers, HallNumbers
from squire_gatherings._values.op import Op
from squire_gatherings._values.settings import HallOptions, HallSettings

_log = logging.getLogger(__name__)


@define(eq=False)
class Hall:
    """The gatherings of one process. Made by `open_hall`.

    Every method that takes a gathering id raises `BadGatheringId` if it can't be one and
    `HallClosed` once the hall is closing; those that open the gathering also raise
    `StoreUnavailable`, or `GatheringCrashed` when its behaviour fails to restore it.

    Every async method is a checkpoint, also where it need not wait. One that is cancelled
    before it began has done nothing; its docstring says what else cancellation does.
    """

    settings: HallSettings
    store: Store
    _behaviour: Callable[[], Behaviour]
    _authenticate: Authenticate
    _nursery: trio.Nursery
    _lives: dict[str, Life] = field(factory=dict)
    _closed: bool = False
    _opened: int = 0
    _ended: Counter[str] = field(factory=Counter)
    _asked: int = 0
    """How many joins were asked for."""
    _poison: Poison = field(factory=Poison)
    _endings: Endings = field(factory=lambda: Endings(new_hall_mark()))

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
        identity: Identity | None = None,
        tail: bool = False,
    ) -> Membership:
        """Join a gathering, which is opened if need be; `joined` goes to the connection.

        `since` is the last seq that the client has, and `epoch` that op's epoch; `client` is its
        own random id, which is made and told in `joined` if it has none. With an `identity` the
        caller vouches for who it is; otherwise `token` is authenticated. `resume` is the
        incarnation to which a client returns by itself, with nothing new: that is no activity,
        and doesn't wake a gathering that has ended meanwhile. With `tail` and without `since`,
        the client is given what comes after the join and nothing before.

        A join that meets a gathering while it disperses waits for the next incarnation. Of
        several connections of the same `client` the one that asked last is in it. Raises
        `Unauthorized`, `Replaced` when another one asked later, `BadBase` when `since` lies
        beyond the log and `LogReplaced` when the log isn't that of `epoch`; `GatheringDispersed`,
        after the notice was sent and the connection closed, when `resume` has ended.
        When cancelled, the connection isn't in the gathering.
        """
        check_gathering_id(gathering_id)
        if since is not None:
            check_seq(since, "since")
        if epoch is not None:
            check_epoch(epoch)
        for what, text in (("client", client), ("resume", resume)):
            if text is not None:
                check_id(text, what)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._asked += 1
        asked = self._asked
        if identity is None:
            identity = await authenticated(self._authenticate, token, gathering_id)
        check_identity(identity)
        made = new_client_id() if client is None else None
        client = made or client
        scope = sync_scope(identity.user, client)
        settings = self.settings
        wants_past = since is not None or not tail
        try:
            while True:
                if resume is not None:
                    notice = await self._missed_notice(gathering_id, resume, since)
                    if notice is not None:
                        window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
                        guest = Onlooker(0, connection, identity, client, scope, window)
                        say_goodbye(guest, notice)
                        raise GatheringDispersed(f"gathering {gathering_id} has dispersed")
                gathering = await self._find(gathering_id)
                page: tuple[LoggedOp, ...] = ()
                if wants_past:
                    with self._lives[gathering_id].reading() as reading:
                        page = await self._page(gathering, since, epoch)
                    if reading.cancelled_caught:
                        continue
                window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
                number = gathering.next_number()
                onlooker = Onlooker(number, connection, identity, client, scope, window)
                onlooker.asked = asked
                request = JoinRequest(
                    onlooker, since, page, epoch, made, resume is None, not wants_past
                )
                try:
                    joined = await gathering.ask(Caller(identity, scope), request)
                except GatheringDispersed:
                    continue
                except trio.Cancelled:
                    request.abandoned = True
                    if onlooker.attached:
                        gathering.gone(onlooker)
                    raise
                assert isinstance(joined, Joined)
                return Membership(
                    gathering_id, joined.incarnation, self, weakref.ref(gathering), onlooker
                )
        finally:
            self._visited(gathering_id, counted=False)

    async def open(self, gathering_id: str) -> None:
        """Open a gathering unless it is open. Nobody need ever join: it disperses, too.

        Cancelled, the opening is given up, unless somebody else waits for it, too.
        """
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        gathering = await self._find(gathering_id)
        gathering.is_wanted = True
        self._visited(gathering_id, counted=False)
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
        """Submit ops as a sync of its own; return their seqs once they are durable.

        Without a `base` it is whatever the log's end is when they are judged. With a `sync_id`
        (1 to 128 characters), ids of the same user are applied once, however often they are
        submitted. Raises `OpRejected`, `OpConflict`, `Forbidden`, `BadBase`, `SyncIdReused`,
        `TooBig` for more than `max_ops` ops, and `ValueError` for ops that aren't JSON, and for
        a `base` or `sync_id` that can't be one. When cancelled, the ops may or may not be
        applied.
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
        synced = await self._ask(gathering_id, sync, identity, at_end=base is None)
        assert isinstance(synced, Synced)
        return synced.seqs

    async def fetch(
        self, gathering_id: str, *, since: int | None = None, identity: Identity = ANONYMOUS
    ) -> Fetched:
        """Read the ops after `since`, or a snapshot. Counts as activity; see `snapshot`.

        Of the ops as many as fit into one message (`batch_bytes`); where they end before `seq`,
        fetch again. Raises `BadBase` when `since` lies beyond the log, `ValueError` where it
        can't be a seq. When cancelled, nothing is read any more.
        """
        if since is not None:
            check_seq(since, "since")
        fetched = await self._ask(gathering_id, Fetch("fetch", since), identity)
        assert isinstance(fetched, Fetched)
        return fetched

    async def _pass_on(self, gathering_id: str, onlooker: Onlooker, sync: Sync) -> None:
        """Have the living incarnation serve a sync whose own incarnation has ended."""
        await self._ask(gathering_id, sync, onlooker.identity, scope=onlooker.scope)

    # Ending.

    async def disperse(
        self, gathering_id: str, reason: DispersalReason = DispersalReason.ADMIN
    ) -> bool:
        """Disperse a gathering now, and wait until it is reaped; False if it wasn't there.

        What it has in its inbox is processed before. When cancelled, it goes on dispersing.
        """
        check_gathering_id(gathering_id)
        reason = DispersalReason(reason)
        await trio.lowlevel.checkpoint_if_cancelled()
        life = self._lives.get(gathering_id)
        if life is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return False
        await life.wait_opened()
        life.gathering.end(reason)
        await life.wait_gone()
        return True

    async def close(self) -> None:
        """Disperse everything with reason `shutdown`; take nothing more.

        What still processes a message after `close_grace` seconds is cancelled. Returns
        when all is gone, which no client can delay any further. Later calls do the same.
        Cancelled, the closing goes on by itself, but for what is still processed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._closed = True
        by = trio.current_time() + self.settings.close_grace
        with trio.move_on_at(by):
            for life in tuple(self._lives.values()):
                life.gathering.end(DispersalReason.SHUTDOWN, by=by)
            while self._lives:
                life = next(iter(self._lives.values()))
                await life.wait_opened()
                life.gathering.end(DispersalReason.SHUTDOWN, by=by)
                await life.wait_gone()
        self._nursery.cancel_scope.cancel()
        for life in self._lives.values():
            if life.opening is not None:
                life.opening.cancel()
        while self._lives:
            await next(iter(self._lives.values())).wait_gone()
        await trio.lowlevel.cancel_shielded_checkpoint()

    # Looking on: counts as no activity.

    def gatherings(self) -> tuple[str, ...]:
        """Return the ids of the gatherings that are open now."""
        return tuple(name for name, life in self._lives.items() if life.gathering.accepting)

    def snapshot(self) -> HallNumbers:
        """Return the numbers of the hall and of every open gathering."""
        numbers: tuple[GatheringNumbers, ...] = tuple(
            life.gathering.numbers() for life in self._lives.values() if life.gathering.accepting
        )
        return HallNumbers(
            now=trio.current_time(),
            gatherings=numbers,
            onlookers=sum(one.onlookers for one in numbers),
            opened=self._opened,
            crashed=self._ended[DispersalReason.CRASHED],
            dispersed={str(reason): n for reason, n in self._ended.items()},
        )

    # The registry.

    async def _find(self, gathering_id: str) -> Gathering:
        """Return the living incarnation; wait for the end of a dispersing one, open a new one.

        There's no checkpoint after it is known to live.
        """
        while True:
            if self._closed:
                raise HallClosed("the hall is closed")
            life = self._lives.get(gathering_id)
            if life is None:
                await self._start(gathering_id)
            elif life.gathering.accepting:
                return life.gathering
            elif not life.opened:
                await life.wait_opened()
                if life.error is not None:
                    raise type(life.error)(*life.error.args) from life.error
            else:
                await life.wait_gone()

    async def _start(self, gathering_id: str) -> None:
        gathering = Gathering(
            gathering_id,
            self.settings,
            self.store,
            self._behaviour,
            self._reap,
            incarnation=new_incarnation_id(self._endings.mark),
            refused=self._poison.of(gathering_id),
        )
        life = self._lives[gathering_id] = Life(gathering)
        try:
            with trio.CancelScope() as life.opening:
                await self._nursery.start(gathering.run, name=f"gathering {gathering_id}")
            if life.opening.cancelled_caught:
                raise HallClosed("the hall was closed")
        except GatheringsError as error:
            life.error = error
            raise
        else:
            self._opened += 1
            if self._closed:
                gathering.end(DispersalReason.SHUTDOWN)
        finally:
            # Whoever waits for this opening looks again, also when it was cancelled.
            life.opened = True
            life.opening = None
            life.tell()

    def _reap(self, gathering_id: str) -> None:
        life = self._lives.pop(gathering_id)
        gathering = life.gathering
        if gathering.reason is not None:
            self._ended[gathering.reason] += 1
        if gathering.notice is not None:
            self._endings.remember(gathering.notice)
        if gathering.suspects:
            self._poison.remember(gathering_id, gathering.suspects)
        life.reaped()

    def _visited(self, gathering_id: str, *, counted: bool) -> None:
        """Somebody who opened the gathering, if need be, wants nothing more of it."""
        life = self._lives.get(gathering_id)
        if life is not None:
            life.gathering.visited(counted=counted)

    async def _missed_notice(
        self, gathering_id: str, resume: str, since: int | None
    ) -> Dispersed | None:
        """Return what a client missed that returns to an incarnation that has ended."""
        life = self._lives.get(gathering_id)
        if life is not None and life.opened and not life.gathering.accepting:
            await life.wait_gone()
            life = self._lives.get(gathering_id)
        if life is not None or self._closed:
            return None
        return self._endings.notice_of(gathering_id, resume, since)

    async def _page(
        self, gathering: Gathering, since: int | None, epoch: str | None
    ) -> tuple[LoggedOp, ...]:
        """Read what a joining client lacks and only the store has.

        Raises `LogReplaced` where the client knows another log.
        """
        log = gathering.log
        after = since or 0
        expected = epoch if after else None
        page: tuple[LoggedOp, ...] = ()
        is_served = not gathering.serves_snapshots and after + 1 < log.tail_start
        found = log.epoch_of(after)
        if is_served or (expected is not None and found is None and after < log.tail_start):
            # From the client's last op on: its epoch says whether it's the same log.
            page = await read_page(
                self.store,
                gathering.id,
                after=max(0, after - 1),
                up_to=log.committed if is_served else after,
                max_bytes=self.settings.batch_bytes,
            )
            if after:
                found = page[0].epoch if page else None
                page = page[1:]
            if is_served and after and not page:
                # The client's last op alone filled it.
                page = await read_page(
                    self.store,
                    gathering.id,
                    after=after,
                    up_to=log.committed,
                    max_bytes=self.settings.batch_bytes,
                )
        if expected is None:
            return page
        # Whoever was told of an op was told of one that is durable. It's decided here, where the
        # log's end is what it is: until the join is processed, another op may get that seq.
        if after > log.committed:
            raise LogReplaced(f"since is {after}, but the last op is {log.committed}")
        if found != expected:
            raise LogReplaced(f"op {after} isn't the one that the client has: it's another log")
        return page

    async def _ask(
        self,
        gathering_id: str,
        request: Request,
        identity: Identity,
        *,
        scope: str | None = None,
        at_end: bool = False,
    ) -> ServerMessage:
        check_gathering_id(gathering_id)
        await trio.lowlevel.checkpoint_if_cancelled()
        check_identity(identity)
        caller = Caller(identity, scope or sync_scope(identity.user, None), at_end=at_end)
        counted = False
        try:
            while True:
                gathering = await self._find(gathering_id)
                try:
                    answer = await gathering.ask(caller, request)
                except GatheringDispersed:
                    caller = caller.again()
                    continue
                counted = True
                return answer
        finally:
            self._visited(gathering_id, counted=counted)


@asynccontextmanager
async def open_hall(
    *,
    store: Store,
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    authenticate: Authenticate = admit_everybody,
    settings: HallSettings | None = None,
    **changes: Unpack[HallOptions],
) -> AsyncIterator[Hall]:
    """Open a hall; every field of `HallSettings` is a keyword argument as well.

    `behaviour` is called for each incarnation and returns its `Behaviour`. Leaving the
    block normally closes the hall with notices (`Hall.close`); leaving it by an exception
    or cancellation gives the same notices, within `close_grace` seconds. Raises
    `BadSetting`.
    """
    settings = evolve(settings or HallSettings(), **changes)
    async with open_hidden_nursery() as nursery:
        gatherings: trio.Nursery = await nursery.start(_hold_nursery)
        hall = Hall(settings, store, behaviour, authenticate, gatherings)
        nursery.start_soon(_close_when_cancelled, hall)
        try:
            yield hall
            await hall.close()
        finally:
            hall._closed = True
            nursery.cancel_scope.cancel()


async def _close_when_cancelled(hall: Hall) -> None:
    """Let nobody in any more, as soon as the gatherings are cancelled from outside."""
    try:
        await trio.sleep_forever()
    finally:
        hall._closed = True


async def _hold_nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Keep the nursery of the gatherings, which can so be cancelled without its user."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
