"""The gathering, as a program that joined it sees it."""

import math
import secrets
from collections.abc import Iterable
from typing import Any

import trio
from attrs import define

from squire_gatherings._client.session import Session
from squire_gatherings._rules.change_queue import Change, Missing
from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.messages import Dispersed
from squire_gatherings._values.op import Op


@define(eq=False)
class Gathering:
    """One gathering that a client joined. Made by `Client.join`.

    A lost connection is nothing but a pause here. What ends it for good (`Unauthorized`,
    `Replaced`, `CannotConnect` when the patience is over, `Left`) is raised by whatever is called
    or waits.

    `async for change in gathering` gives what others did, each `Change` once and in
    order. A dispersal ends the loop, and `dispersed` says why; the next loop goes on after it,
    once `submit` or `rejoin` has woken the gathering. One task may iterate at a time.
    `LogReplaced` is raised once where the server's log turns out to be another one (an older
    backup was restored): the next loop begins with its first op.

    Every call that waits is a checkpoint, and atomic about cancellation: cancelled, it has
    taken nothing; what it has taken, it returns.
    """

    _session: Session
    dispersed: Dispersed | None = None
    """The notice that ended the last loop; None while none did."""
    _iterating: bool = False

    @property
    def gathering_id(self) -> str:
        """The gathering's id."""
        return self._session.gathering_id

    @property
    def seq(self) -> int:
        """The seq of the last op that has arrived."""
        return self._session.exchange.replica.seq

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up, and the server has let us in."""
        return self._session.exchange.connected

    @property
    def is_asleep(self) -> bool:
        """Whether the gathering dispersed, and nothing has woken it."""
        return self._session.asleep

    @property
    def unanswered(self) -> int:
        """How many submits wait for their answer."""
        return len(self._session.exchange.replica.pending)

    @property
    def expires_in(self) -> float | None:
        """In how many seconds the gathering disperses, if nothing happens; None if asleep.

        At least so many: what others do without changing anything isn't seen here.
        """
        if self._session.asleep:
            return None
        left = self._session.exchange.expires_at - trio.current_time()
        return left if math.isinf(left) else max(0.0, left)

    def snapshot(self) -> Any:
        """Return the state that the behaviour has, a copy, as JSON values.

        Joined with `optimistic`, it shows unanswered submits, too. Raises `LookupError`
        where the gathering was joined without a behaviour.
        """
        return self._session.exchange.replica.snapshot()

    async def submit(self, op: dict[str, Any], *, sync_id: str | None = None) -> int:
        """Submit an op; return its seq once it is durable, however long that takes.

        Many may be in flight; they're logged in the order in which they were submitted,
        but for those that the server refuses. Sent again after a lost connection, it is applied
        once; with a `sync_id` of your own and the same `client_id`, also by the next run
        of your program. Wakes a gathering that has dispersed.

        Raises `OpRejected`, `OpConflict`, `Forbidden`, `SyncIdReused`, `TooBig`, and
        `ValueError` for an op that isn't JSON. A checkpoint. Cancelled before the answer has
        come, the op may or may not be applied, unless it was cancelled already when called:
        then it isn't. Submitted again with the same `sync_id`, it is applied once.
        """
        [seq] = await self.submit_all([op], sync_id=sync_id)
        return seq

    async def submit_all(
        self, ops: Iterable[dict[str, Any]], *, sync_id: str | None = None
    ) -> tuple[int, ...]:
        """Submit ops, all or none, like `submit`; return the seq of each.

        Raises `TooBig` at once for more ops than the server takes in one sync. A checkpoint;
        cancellation does what it does to `submit`.
        """
        made = tuple(Op.of(op) for op in ops)
        if not made:
            raise ValueError("a sync has at least one op")
        if sync_id is None:
            sync_id = secrets.token_hex(16)
        return await self._session.exchange.submit(check_message_id(sync_id), made)

    async def rejoin(self) -> None:
        """Wake the gathering if it has dispersed; return once this client is in it.

        A checkpoint. Cancelled, the gathering may be woken all the same.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        exchange = self._session.exchange
        exchange.rejoining += 1
        exchange.wanted.set()
        try:
            while True:
                exchange.check()
                if exchange.connected:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                    return
                await exchange.news.wait()
        finally:
            exchange.rejoining -= 1

    def __aiter__(self) -> "Gathering":
        return self

    async def __anext__(self) -> Change:
        """Return what others did next. A checkpoint; cancelled, nothing is lost.

        Raises `StopAsyncIteration` once for each dispersal, `LogReplaced` once for each log.
        """
        if self._iterating:
            raise trio.BusyResourceError("another task iterates over this gathering")
        self._iterating = True
        try:
            return await self._next_change()
        finally:
            self._iterating = False

    async def _next_change(self) -> Change:
        await trio.lowlevel.checkpoint_if_cancelled()
        exchange = self._session.exchange
        changes = exchange.replica.changes
        while True:
            taken = changes.take()
            if isinstance(taken, Missing):
                # It's kept when it comes, whether or not somebody still waits here.
                exchange.refill(taken.since)
                await exchange.news.wait()
            elif taken is None:
                exchange.check()
                self.dispersed = None
                await exchange.news.wait()
            else:
                # It's taken: from here on, nothing may be raised but what it is.
                await trio.lowlevel.cancel_shielded_checkpoint()
                if isinstance(taken, Change):
                    return taken
                if isinstance(taken, Dispersed):
                    self.dispersed = taken
                    raise StopAsyncIteration
                raise taken


def check_message_id(text: str) -> str:
    """Return `text` if it may be the id of a sync or a client; raise `ValueError` if not."""
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_ID_LENGTH:
        raise ValueError(f"an id is text of 1 to {MAX_ID_LENGTH} characters")
    text.encode()
    return text
