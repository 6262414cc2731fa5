"""The gathering, as a program that joined it sees it."""

import math
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import trio
from attrs import define

from squire_gatherings._client.endings import EndingSoon
from squire_gatherings._client.session import Session
from squire_gatherings._rules.change_queue import Change, Missing
from squire_gatherings._values.checks import check_seq, point_in_log
from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.log import Page, page_from
from squire_gatherings._values.messages import Dispersed, Fetch
from squire_gatherings._values.op import Op
from squire_gatherings._values.presence import PresenceView


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
    def role(self) -> str:
        """What this client is to the gathering, as the server said last; `member` before."""
        return self._session.exchange.replica.identity.role

    @property
    def rights_expire_in(self) -> float:
        """How many seconds are left until this client's rights end; infinite if they never do.

        Where `open_client` was given a function as `token`, they're renewed before.
        """
        return max(0.0, self._session.exchange.renewal.ends_at - trio.current_time())

    async def wait_role(self, *, other_than: str) -> str:
        """Wait until this client's role is another than that, and return it.

        ```python
        role = gathering.role
        while True:
            show(role)
            role = await gathering.wait_role(other_than=role)
        ```

        Args:
            other_than: The role that is known already.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, nothing is taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        exchange = self._session.exchange
        while self.role == other_than:
            exchange.check()
            await exchange.news.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self.role

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
        """How many seconds are left until the gathering disperses, if nothing happens.

        It is at least so long: what others do without changing anything isn't seen here. None if
        it is asleep, infinite if it never disperses.
        """
        if self._session.asleep:
            return None
        left = self._session.exchange.remaining.expires_at - trio.current_time()
        return left if math.isinf(left) else max(0.0, left)

    @property
    def ending(self) -> EndingSoon | None:
        """The end that the server has warned of, while it stands; None while there's none.

        Whatever this client asks (but for an end by `max_age` or `ends_at`) puts it off.
        """
        return self._session.exchange.remaining.ending

    async def wait_ending(self, *, other_than: EndingSoon | None = None) -> EndingSoon | None:
        """Wait until `ending` is something else than that, and return it.

        ```python
        ending = None
        while True:
            ending = await gathering.wait_ending(other_than=ending)
            show(ending)
        ```

        Args:
            other_than: What is known already.

        Returns:
            The end that is near; None where it was put off, or the connection is lost.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, nothing is taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        exchange = self._session.exchange
        while exchange.remaining.ending == other_than:
            exchange.check()
            await exchange.news.wait()
        ending = exchange.remaining.ending
        await trio.lowlevel.cancel_shielded_checkpoint()
        return ending

    @property
    def presence(self) -> PresenceView | None:
        """Who is here, this client included.

        None while that isn't known: presence wasn't asked for, the server has none, or there is no
        connection now.
        """
        return self._session.exchange.presence.view

    def set_presence(self, state: dict[str, Any]) -> None:
        """Be shown with this state from now on; ask for presence, if the join didn't.

        It goes out soon, and with every new join; of several only the newest does. What the server
        refuses is logged. It wakes no gathering, and is no activity.

        Args:
            state: A JSON object, of at most 1 KiB unless the server takes more.

        Raises:
            ValueError: It isn't JSON.
        """
        exchange = self._session.exchange
        exchange.presence.say(Op.of(state), exchange.replica.identity.user)
        exchange.send_soon()

    async def wait_presence(self, *, other_than: PresenceView | None = None) -> PresenceView:
        """Wait until `presence` is something else than that, and known, and return it.

        ```python
        view = None
        while True:
            view = await gathering.wait_presence(other_than=view)
            show(view)
        ```

        Args:
            other_than: What is known already.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, nothing is taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        exchange = self._session.exchange
        while (view := exchange.presence.view) is None or view == other_than:
            exchange.check()
            await exchange.news.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        return view

    def snapshot(self) -> Any:
        """Return a copy of the state that the behaviour has.

        Returns:
            JSON values (dicts, lists, text, numbers, bools, None). Joined with `optimistic`, they
            show submits that aren't answered, too.

        Raises:
            LookupError: The gathering was joined without a behaviour.
        """
        return self._session.exchange.replica.snapshot()

    async def submit(self, op: dict[str, Any], *, sync_id: str | None = None) -> int:
        """Submit an op, and wait until it is durable, however long that takes.

        Many may be in flight; they're logged in the order in which they were submitted, but for
        those that the server refuses. Wakes a gathering that has dispersed.

        Args:
            op: A JSON object.
            sync_id: Text of 1 to 128 characters that names this submit for ever: submitted again,
                it is applied once and answered again; with the same `client_id` also by the next
                run of your program. Without it, one is made.

        Returns:
            The op's seq.

        Raises:
            OpRejected: The behaviour refuses it.
            OpConflict: Others were faster, and it can't be merged.
            Forbidden: This client may not submit.
            SyncIdReused: Another op was submitted with this `sync_id`.
            TooBig: It is larger than the server takes.
            ValueError: It isn't JSON, or `sync_id` isn't one or is under way.
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled before it began, it isn't applied. Cancelled later,
        before the answer has come, it may or may not be; submitted again with the same `sync_id`,
        it is applied once.
        """
        [seq] = await self.submit_all([op], sync_id=sync_id)
        return seq

    async def submit_all(
        self, ops: Iterable[dict[str, Any]], *, sync_id: str | None = None
    ) -> tuple[int, ...]:
        """Submit ops, all or none, like `submit`.

        Args:
            ops: One JSON object or more.
            sync_id: As for `submit`; for all of them together.

        Returns:
            The seq of each.

        Raises:
            TooBig: At once, for more ops than the server takes in one sync.
            ValueError: There are none; and as `submit` raises it.
            GatheringsError: As `submit` raises them.

        Cancellation: As for `submit`.
        """
        made = tuple(Op.of(op) for op in ops)
        if not made:
            raise ValueError("a sync has at least one op")
        if sync_id is None:
            sync_id = secrets.token_hex(16)
        return await self._session.exchange.submit(check_message_id(sync_id), made)

    async def fetch(self, *, at: int | datetime, since: int | None = None) -> Page:
        """Ask for the gathering as it was. Wakes one that has dispersed.

        Args:
            at: The seq of an op, or an instant (with a time zone): the answer is as if the log
                ended there.
            since: The last op that isn't wanted. Without it, the answer is the state, where the
                gathering's behaviour gives one, and otherwise the ops from the first one on.

        Returns:
            The state, or as many of the ops as the server sends at once. Where they end before
            `seq`, fetch again.

        Raises:
            BadBase: The log doesn't have that op, or not any more.
            ValueError: `at` or `since` can't be one.
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, nothing more is asked.
        """
        seq, instant = point_in_log(at)
        if since is not None:
            check_seq(since, "since")
        fetch = Fetch(secrets.token_hex(8), since, seq, instant)
        exchange = self._session.exchange
        fetched = await exchange.look(fetch)
        return page_from(fetched, exchange.incarnation)

    async def rejoin(self) -> None:
        """Wake the gathering if it has dispersed; return once this client is in it.

        Raises:
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, the gathering may be woken all the same.
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
        """Return what others did next.

        Raises:
            StopAsyncIteration: Once for each dispersal.
            LogReplaced: Once for each log that replaces the one we know.
            trio.BusyResourceError: Another task iterates.
            GatheringsError: What ended the stay for good.

        Cancellation: A checkpoint. Cancelled, nothing is taken and nothing lost.
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
