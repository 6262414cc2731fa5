"""Failing calls: each call of a store goes well, or fails, waits or hangs as it was ordered.

It is also how a process's end is played: a store that was killed answers nothing any more, and what
was under way may have become durable or not.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from attrs import define, field

from squire_gatherings._hall.store import Outcome, Store
from squire_gatherings._stores.memory import MemoryStore
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append
from squire_gatherings.testing._trouble import (
    AT_ONCE,
    CHANGING,
    EVENTS,
    FAILS_AFTER,
    FAILS_BEFORE,
    OWNERS,
    SLEEP,
    Calls,
    Ordered,
    Trouble,
    Troubles,
    methods_of,
)

T = TypeVar("T")

OPTIONAL = (
    "snapshot_at", "seq_at", "list_logs", "describe", "read_links", "older_syncs", "syncs_of",
    "end_of_append", "has_log", "changes", *CHANGING, *SLEEP, *EVENTS, "end_events",
    *OWNERS, "release_nowait",
)  # fmt: skip
"""The methods that not every store has."""


@define(eq=False, slots=False)
class FailingCalls:
    """How the calls of a `FailingStore` go, and its appends."""

    inner: Store = field(factory=MemoryStore)
    """What it is in front of: by default a store in memory."""
    nursery: trio.Nursery | None = None
    """Has the appends that end later. Without one, their callers must wait for them."""
    is_dead: bool = field(default=False, init=False)
    """Whether its process was killed."""
    calls: Counter[str] = field(factory=Counter, init=False)
    """How often each method was called; `append` and `append_nowait` count together."""
    _troubles: Troubles = field(factory=Troubles, init=False)
    _under_way: list[Append] = field(factory=list, init=False)
    """Appends whose time isn't over."""
    _pending: Counter[str] = field(factory=Counter, init=False)
    """How many appends of each gathering have no outcome yet."""
    _news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def __attrs_post_init__(self) -> None:
        for name in OPTIONAL:
            if getattr(self.inner, name, None) is None:
                # So `isinstance` tells of this store what it tells of the other.
                setattr(self, name, None)

    @property
    def name(self) -> str:
        """What to call the store in logs."""
        return f"failing:{self.inner.name}"

    # What a test wants.

    def trouble(
        self,
        which: Calls,
        what: Trouble,
        *,
        seconds: float = 0.0,
        after: int = 0,
        calls: int | None = None,
        error: Exception | None = None,
    ) -> None:
        """Order a trouble; it takes the place of an earlier one.

        Args:
            which: The calls that have it: a method, or several.
            what: What is wrong.
            seconds: How long a call takes, if it doesn't fail at once.
            after: How many calls go well before.
            calls: How many calls have it then; by default all, until `heal`.
            error: What is raised instead of the usual error.

        Raises:
            ValueError: There is no such call.
        """
        self._troubles.order(methods_of([which]), Ordered(what, seconds, calls, after, error))
        self._news.unpark_all()

    def heal(self, which: Calls = "all") -> None:
        """Have all be well from now on; calls that hang go on."""
        self._troubles.clear(methods_of([which]))
        self._news.unpark_all()

    def kill(self, *, lands: bool) -> None:
        """End the store as `kill -9` ends its process: whoever waits for it waits for ever.

        Args:
            lands: Whether the appends under way become durable all the same.
        """
        self.is_dead = True
        if lands:
            for append in self._under_way:
                self.inner.append_nowait(append, _nobody_asks)

    def began(self, method: str, gathering: str) -> None:
        """Do nothing: a test that wants to know of each call overrides it."""

    def ended(self, method: str, gathering: str, outcome: Outcome) -> None:
        """Do nothing, as `began`; `outcome` is the error that the caller gets, or None."""

    # Appends.

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append; see `Store.append_nowait`."""
        if self.is_dead:
            return False
        trouble = self._troubles.of("append")
        if trouble.what == "waits" or (trouble.what not in AT_ONCE and self.nursery is None):
            raise trio.WouldBlock
        if trouble.what not in AT_ONCE:
            assert self.nursery is not None
            trouble = self._began(append)
            self.nursery.start_soon(self._append_later, append, trouble, ended)
            return False
        if trouble.what == "none":
            return self._append_now(append, ended)
        error = self._began(append).raised()
        self._ended(append, error)
        raise error

    def _append_now(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        def ended_later(outcome: Outcome) -> None:
            if not self.is_dead:
                self._ended(append, outcome)
                ended(outcome)

        is_durable = self.inner.append_nowait(append, ended_later)
        self._began(append)
        if is_durable:
            self._ended(append, None)
        return is_durable

    async def append(self, append: Append) -> None:
        """Append; see `Store.append`. Cancellation: as there."""
        await trio.lowlevel.checkpoint_if_cancelled()
        trouble = self._began(append)
        outcome: Outcome = None
        try:
            outcome = await self._come_to(append, trouble)
        finally:
            self._ended(append, outcome)
        if outcome is not None:
            raise outcome

    async def _append_later(
        self, append: Append, trouble: Ordered, ended: Callable[[Outcome], None]
    ) -> None:
        outcome = await self._come_to(append, trouble)
        if not self.is_dead:
            self._ended(append, outcome)
            ended(outcome)

    async def _come_to(self, append: Append, trouble: Ordered) -> Outcome:
        self._under_way.append(append)
        try:
            trouble = await self._wait_out("append", trouble)
        finally:
            self._under_way.remove(append)
        if trouble.what in FAILS_BEFORE:
            return trouble.raised()
        try:
            await self.inner.append(append)
        except Exception as error:
            return error
        return trouble.raised() if trouble.what in FAILS_AFTER else None

    def _began(self, append: Append) -> Ordered:
        self._pending[append.gathering] += 1
        return self._take("append", append.gathering)

    def _ended(self, append: Append, outcome: Outcome) -> None:
        self._pending[append.gathering] -= 1
        self._news.unpark_all()
        self.ended("append", append.gathering, outcome)

    # How a call goes.

    @property
    def _more(self) -> Any:
        """The store in front of which it is, with what not every store has."""
        return self.inner

    def _take(self, method: str, gathering: str) -> Ordered:
        self.calls[method] += 1
        self.began(method, gathering)
        return self._troubles.take(method)

    async def _wait_out(self, method: str, trouble: Ordered) -> Ordered:
        """Take the time that a call takes; return the trouble that it has in the end."""
        if trouble.seconds and trouble.what not in AT_ONCE:
            await trio.sleep(trouble.seconds)
        else:
            await trio.lowlevel.checkpoint()
        while trouble.what == "hangs":
            version = self._troubles.version_of(method)
            while self._troubles.version_of(method) == version:
                await self._news.park()
            trouble = self._troubles.take(method)
        if self.is_dead:
            await trio.sleep_forever()
        return trouble

    async def _do(
        self,
        method: str,
        gathering: str,
        work: Callable[[], Awaitable[T]],
        *,
        is_shielded: bool = False,
    ) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        trouble = self._take(method, gathering)
        outcome: Outcome = None
        try:
            trouble = await self._wait_out(method, trouble)
            if trouble.what in FAILS_BEFORE:
                raise trouble.raised()
            with trio.CancelScope(shield=is_shielded):
                found = await work()
            if trouble.what in FAILS_AFTER:
                raise trouble.raised()
        except Exception as error:
            outcome = error
            raise
        finally:
            self.ended(method, gathering, outcome)
        return found

    async def _do_or_die(self, method: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the same; a store that was killed fails, so that nobody waits for events."""
        if self.is_dead:
            await trio.lowlevel.checkpoint()
            raise StoreUnavailable("its process was killed")
        return await self._do(method, "", work)

    async def _change(self, method: str, gathering: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the same to a whole log; a change that has begun is never broken off."""
        await self._settle(gathering)
        return await self._do(method, gathering, work, is_shielded=True)

    async def _settle(self, gathering: str) -> None:
        """Return when no append of a gathering is under way."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._pending[gathering]:
            await self._news.park()


def _nobody_asks(_: Outcome) -> None:
    """Whoever waited for it was killed."""
