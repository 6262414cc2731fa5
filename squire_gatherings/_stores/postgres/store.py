"""The PostgreSQL store: one writer with group commit, and a few connections to read."""

import logging
import platform
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, evolve

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.store import Outcome
from squire_gatherings._stores.postgres import nodes, reads
from squire_gatherings._stores.postgres.address import Address
from squire_gatherings._stores.postgres.calls import Pool
from squire_gatherings._stores.postgres.claims import Claims
from squire_gatherings._stores.postgres.kept_events import KeptEvents
from squire_gatherings._stores.postgres.kept_owners import LEASE, KeptOwners, new_lease
from squire_gatherings._stores.postgres.kept_sleep import KeptSleep
from squire_gatherings._stores.postgres.link import CALL_TIMEOUT, Link
from squire_gatherings._stores.postgres.lost_commits import LostCommits
from squire_gatherings._stores.postgres.patience import Patience
from squire_gatherings._stores.postgres.shared_secret import SharedSecret
from squire_gatherings._stores.postgres.tables import can_be_asked
from squire_gatherings._stores.postgres.whole_logs import WholeLogsOfDatabase
from squire_gatherings._values.errors import StoreUnavailable, TakenAway
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord
from squire_gatherings._values.nodes import Node

_log = logging.getLogger(__name__)

BEAT = 1.0
"""How many seconds lie between two beats."""
READERS = 4
"""How many connections read."""


@define(eq=False)
class PostgresStore(WholeLogsOfDatabase, KeptEvents, KeptSleep, KeptOwners, SharedSecret):
    """A `Store` in a PostgreSQL database. Made by `open_postgres_store`.

    What is appended while a commit runs goes into the next one, for all gatherings together. Every
    call raises `StoreUnavailable` while the database is away, full, a standby or too slow, and
    after the store was closed.

    Cancellation: every async call is a checkpoint; cancelled before it began, it does nothing.
    Cancelling a read waits for the worker thread first.
    """

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from, after any append of it that is under way.

        Args:
            gathering: Its id.
            recent_syncs: How many of the newest syncs are wanted.

        Raises:
            TakenAway: Another node has it.
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed, but the gathering may be ours.
        """
        await self._committer.settled(gathering)
        if can_be_asked(gathering):
            owner = await self._claiming.claim(gathering)
            if owner is None and not self._claims.takes:
                raise TakenAway(f"no node has {gathering}")
            if owner is None:
                raise StoreUnavailable(f"{gathering} can't be taken now")
            if owner != self._claims.node:
                raise TakenAway(f"another node has {gathering}")
        return await self._read(reads.load, gathering, recent_syncs)

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Let it go into the next commit: always false, as it isn't durable yet.

        Args:
            append: What to append.
            ended: Is called once, on Trio's thread, with what `append` would have raised, or None.
        """
        self._committer.append_nowait(append, ended)
        return False

    async def append(self, append: Append) -> None:
        """Return once it is durable.

        Raises:
            StoreConflict: The log doesn't end just before it. Nothing was written.
            TakenAway: Another node has the gathering. Nothing was written.
            StoreUnavailable: The commit failed, or nobody knows. It may be repeated.
            ValueError: PostgreSQL can't hold it, now or ever (an integer of more than 64 bits, a
                lone surrogate). Nothing was written.

        Cancellation: before it began, it appends nothing; later, it abandons the wait: the append
        may be committed all the same, and is no trouble to others.
        """
        await self._committer.append(append)

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops, at least one if there is any.

        Args:
            gathering: Its id.
            after: The seq before the first op that is wanted.
            up_to: The seq of the last op that is wanted.
            max_bytes: How many bytes they may add to a message (see `encoded_size`).

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.read, gathering, after, up_to, max_bytes)

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have, each as its JSON.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.size, gathering)

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Return the records of those syncs, by (scope, id), that were applied.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.find_syncs, gathering, keys)

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return ids of the syncs of one scope that were applied, at most `limit` of them.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.sync_ids, gathering, scope, limit)

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Return the head of the chain after the op `seq`; empty if no append ended there.

        None if the log begins after it.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.find_head, gathering, seq)

    # Logs as they were.

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        """Return the syncs that ops came from, in order.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.syncs_of, gathering, after, up_to)

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        """Return the newest snapshot of the state after the op `seq`, or after an earlier one.

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.snapshot_at, gathering, seq)

    async def seq_at(self, gathering: str, *, time: int) -> int:
        """Return the last op whose time isn't after `time`: milliseconds since 1970 (UTC).

        Raises:
            StoreUnavailable: The store can't read now.

        Cancellation: nothing is changed.
        """
        return await self._read(reads.seq_at, gathering, time)

    async def _keep_beating(self) -> None:
        """Say that we live, until a hall does that for us as one of several nodes."""
        while True:
            await trio.sleep(BEAT)
            if not self._claims.takes:
                return
            key, node = self._claims.node, self._node
            try:
                if await self._read(nodes.beat, key, node) is None and self._claims.takes:
                    # Others may have what was ours: each claim and each append shows whether.
                    node = evolve(node, id=secrets.token_hex(8))
                    self._claims.node = await self._write(
                        nodes.register, node, self._lease_duration, nodes.ALONE
                    )
                    _log.warning("this node was declared dead; it goes on as another one")
            except StoreUnavailable:
                continue


@asynccontextmanager
async def open_postgres_store(
    url: str,
    *,
    flush_timeout: float = 5.0,
    node: Node | None = None,
    lease: float = LEASE,
    call_timeout: float = CALL_TIMEOUT,
) -> AsyncIterator[PostgresStore]:
    """Connect to a store's database, and commit to it until the block is left.

    Args:
        url: The database's; see `Address.parse`.
        flush_timeout: How many seconds are left, when the block is left, to commit what is queued.
        node: The node that we are; made up where nobody says.
        lease: How many seconds it may be silent until others may declare it dead.
        call_timeout: How many seconds we wait for the database to answer.

    Yields:
        The store. Leaving the block commits what is queued within `flush_timeout` seconds, answers
        `StoreUnavailable` to what is still queued, and lets others have what was ours.

    Raises:
        BadSetting: It isn't such a URL.
        StoreUnusable: The database can't be a store of ours.
        StoreUnavailable: It can't be reached now.

    Cancellation: the block is left as ever: what is queued is committed.
    """
    address = Address.parse(url)
    node = node or Node(id=secrets.token_hex(8), name=platform.node(), machine=platform.node())
    claims = Claims(address.schema)
    lost = LostCommits(claims)
    patience = Patience(min(call_timeout, lease))
    a_link = partial(Link, address, patience, timeout=call_timeout)
    write_link = a_link(may_begin=True, connected=lost.look)
    readers = [a_link() for _ in range(READERS)]
    look_link = a_link()
    beat_link = a_link(timeout=min(call_timeout, lease))
    store = PostgresStore(
        address.name,
        schema=address.schema,
        write_link=write_link,
        readers=Pool(readers),
        look_link=look_link,
        claims=claims,
        lost=lost,
        beat_link=beat_link,
        node=node,
        lease=new_lease(lease),
        lease_duration=lease,
    )
    async with patience.lasting():
        try:
            await write_link.open()
            if write_link.server is not None and not write_link.server.flushes:
                _log.warning("the database doesn't wait for its disk (fsync is off)")
            claims.node = await store._write(nodes.register, node, lease, nodes.ALONE)
            async with open_hidden_nursery() as nursery, open_hidden_nursery() as beating:
                beating.start_soon(store._keep_beating)
                beating.start_soon(store._keep_releasing)
                nursery.start_soon(store._committer.run)
                try:
                    yield store
                finally:
                    store._committer.stop(flush_timeout)
                    beating.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                for link in (*readers, look_link, beat_link):
                    await link.close()
                await write_link.close(
                    lambda connection: nodes.leave(connection, address.schema, claims.node)
                )
