"""The hall: owns every gathering of a process, opens them on demand, reaps them when they end."""

import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, evolve, field

from squire_gatherings.actors.connection import Connection
from squire_gatherings.actors.gathering import Gathering
from squire_gatherings.actors.membership import Membership
from squire_gatherings.actors.nurseries import open_hidden_nursery
from squire_gatherings.actors.requests import JoinRequest
from squire_gatherings.actors.senders import Caller, Onlooker, sync_scope
from squire_gatherings.actors.store import Store
from squire_gatherings.rules.behaviour import Behaviour, LogBehaviour
from squire_gatherings.rules.delivery_window import DeliveryWindow
from squire_gatherings.values.endings import DispersalReason
from squire_gatherings.values.errors import GatheringDispersed, GatheringsError, HallClosed
from squire_gatherings.values.identity import ANONYMOUS, Identity
from squire_gatherings.values.ids import check_gathering_id
from squire_gatherings.values.log import LoggedOp
from squire_gatherings.values.messages import (
    ClientMessage,
    Fetch,
    Fetched,
    Joined,
    ServerMessage,
    Sync,
    Synced,
)
from squire_gatherings.values.numbers import GatheringNumbers, HallNumbers
from squire_gatherings.values.op import Op
from squire_gatherings.values.settings import HallSettings

_log = logging.getLogger(__name__)

Authenticate = Callable[[str | None, str], Awaitable[Identity]]
"""Called with the token (or None) and the gathering id; raises `Unauthorized`."""


async def admit_everybody(token: str | None, gathering_id: str) -> Identity:
    """The default authentication: everybody is an anonymous member."""
    return ANONYMOUS


@define(eq=False)
class _Life:
    """The registry's entry for an incarnation, from before its restore until it is reaped."""

    gathering: Gathering
    opened: bool = False
    """Whether the opening is over, be it with `error`."""
    gone: bool = False
    error: GatheringsError | None = None
    _changed: trio.Event | None = None
    """Made for whoever waits, which is seldom: an event in each life would be its largest part."""

    def tell(self) -> None:
        """Wake whoever waits."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def wait_opened(self) -> None:
        """Wait until the opening is over."""
        while not self.opened:
            await self._wait()

    async def wait_gone(self) -> None:
        """Wait until it is reaped."""
        while not self.gone:
            await self._wait()

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()


@define(eq=False)
class Hall:
    """The gatherings of one process. Made by `open_hall`.

    Every method that takes a gathering id raises `BadGatheringId` if it can't be one and
    `HallClosed` once the hall is closing; those that open the gathering also raise
    `StoreUnavailable`, or `GatheringCrashed` when its behaviour fails to restore it.
    """

    settings: HallSettings
    store: Store
    _behaviour: Callable[[], Behaviour]
    _authenticate: Authenticate
    _nursery: trio.Nursery
    _lives: dict[str, _Life] = field(factory=dict)
    _closed: bool = False
    _opened: int = 0
    _ended: Counter[str] = field(factory=Counter)

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
    ) -> Membership:
        """Join a gathering, which is opened if need be; `joined` goes to the connection.

        `since` is the last seq that the client has, `client` its own random id. With an
        `identity` the caller vouches for who it is; otherwise `token` is authenticated.
        A join that meets a gathering while it disperses waits for the next incarnation.
        Raises `Unauthorized`, and `BadBase` when `since` lies beyond the log. When
        cancelled, the connection isn't in the gathering.
        """
        check_gathering_id(gathering_id)
        if identity is None:
            identity = await self._authenticate(token, gathering_id)
        scope = sync_scope(identity.user, client)
        settings = self.settings
        while True:
            gathering = await self._find(gathering_id)
            page = await self._page(gathering, since)
            window = DeliveryWindow(settings.retry_interval, settings.retry_limit, 0)
            number = gathering.next_number()
            onlooker = Onlooker(number, connection, identity, client, scope, window)
            request = JoinRequest(onlooker, since, page)
            caller = Caller(identity, scope)
            try:
                gathering.put(caller, request)
                joined = await caller.wait()
            except GatheringDispersed:
                continue
            except trio.Cancelled:
                request.abandoned = True
                if onlooker.attached:
                    gathering.gone(onlooker)
                raise
            assert isinstance(joined, Joined)
            return Membership(gathering_id, joined.incarnation, self, gathering, onlooker)

    async def open(self, gathering_id: str) -> None:
        """Open a gathering unless it is open. Nobody need ever join: it disperses, too."""
        await self._find(check_gathering_id(gathering_id))

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

        Without a `base` it is whatever the log's end is now. With a `sync_id`, ids of
        the same user are applied once, however often they are submitted. Raises
        `OpRejected`, `OpConflict`, `Forbidden`, `BadBase`, `SyncIdReused`, and
        `ValueError` for ops that aren't JSON. When cancelled, the ops may or may not be
        applied.
        """
        sync = Sync(sync_id or secrets.token_hex(16), base or 0, tuple(Op.of(op) for op in ops))
        if not sync.ops:
            raise ValueError("a sync has at least one op")
        scope = sync_scope(identity.user, None)
        synced = await self._ask(gathering_id, sync, identity, scope, at_end=base is None)
        assert isinstance(synced, Synced)
        return synced.seqs

    async def fetch(
        self, gathering_id: str, *, since: int | None = None, identity: Identity = ANONYMOUS
    ) -> Fetched:
        """Read the ops after `since`, or a snapshot. Counts as activity; see `snapshot`."""
        fetched = await self._ask(
            gathering_id, Fetch("fetch", since), identity, sync_scope(identity.user, None)
        )
        assert isinstance(fetched, Fetched)
        return fetched

    async def pass_on(self, gathering_id: str, onlooker: Onlooker, sync: Sync) -> None:
        """Have the living incarnation serve a sync whose own incarnation has ended."""
        await self._ask(gathering_id, sync, onlooker.identity, onlooker.scope)

    # Ending.

    async def disperse(
        self, gathering_id: str, reason: DispersalReason = DispersalReason.ADMIN
    ) -> bool:
        """Disperse a gathering now, and wait until it is reaped; False if it wasn't there.

        What it has in its inbox is processed before. When cancelled, it goes on dispersing.
        """
        life = self._lives.get(check_gathering_id(gathering_id))
        if life is None:
            return False
        await life.wait_opened()
        life.gathering.end(reason)
        await life.wait_gone()
        return True

    async def close(self) -> None:
        """Disperse everything with reason `shutdown`; take nothing more.

        What still processes a message after `close_grace` seconds is cancelled. Returns
        when all is gone, which no client can delay any further. Later calls do the same.
        """
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
        while self._lives:
            await next(iter(self._lives.values())).wait_gone()

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
            gathering_id, self.settings, self.store, self._behaviour(), self._reap
        )
        life = self._lives[gathering_id] = _Life(gathering)
        try:
            await self._nursery.start(gathering.run, name=f"gathering {gathering_id}")
        except GatheringsError as error:
            life.error = error
            raise
        else:
            self._opened += 1
        finally:
            # Whoever waits for this opening looks again, also when it was cancelled.
            life.opened = True
            life.tell()

    def _reap(self, gathering_id: str) -> None:
        life = self._lives.pop(gathering_id)
        if life.gathering.reason is not None:
            self._ended[life.gathering.reason] += 1
        life.gone = True
        life.tell()

    async def _page(self, gathering: Gathering, since: int | None) -> tuple[LoggedOp, ...]:
        after = since or 0
        if gathering.behaviour.serves_snapshots or after + 1 >= gathering.log.tail_start:
            return ()
        return await self.store.read(
            gathering.id,
            after=after,
            up_to=gathering.log.committed,
            max_bytes=self.settings.batch_bytes,
        )

    async def _ask(
        self,
        gathering_id: str,
        message: ClientMessage,
        identity: Identity,
        scope: str,
        *,
        at_end: bool = False,
    ) -> ServerMessage:
        check_gathering_id(gathering_id)
        while True:
            gathering = await self._find(gathering_id)
            caller = Caller(identity, scope)
            if at_end and isinstance(message, Sync):
                message = Sync(message.id, gathering.log.seq, message.ops)
            try:
                gathering.put(caller, message)
                return await caller.wait()
            except GatheringDispersed:
                continue


@asynccontextmanager
async def open_hall(
    *,
    store: Store,
    behaviour: Callable[[], Behaviour] = LogBehaviour,
    authenticate: Authenticate = admit_everybody,
    settings: HallSettings | None = None,
    **changes: Any,
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
        try:
            yield hall
            await hall.close()
        finally:
            hall._closed = True
            nursery.cancel_scope.cancel()


async def _hold_nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Keep the nursery of the gatherings, which can so be cancelled without its user."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
