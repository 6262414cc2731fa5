"""The sleep book: brings into the store which gatherings sleep, many with each commit.

So the next process goes on with them. Falling asleep doesn't wait for that: one whose process is
killed before is lost, as one that was awake. Waking does: nobody is to go on with what was before.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice

import trio
from attrs import define, field

from squire_gatherings._hall.nurseries import open_hidden_nursery
from squire_gatherings._hall.sleep_store import SleepStore
from squire_gatherings._hall.store import Store, store_trouble
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.settings import HallSettings
from squire_gatherings._values.sleep import Slept

_log = logging.getLogger(__name__)

AT_ONCE = 1000
"""How many go into one commit at most."""

LAST_FLUSH = 1.0
"""How many seconds there are for that at least when the hall has ended."""


def _shield() -> trio.CancelScope:
    return trio.CancelScope(shield=True)


@define(eq=False)
class SleepBook:
    """What is to be remembered of the gatherings of one hall, on its way into the store."""

    store: SleepStore
    retry_interval: float
    events: Callable[[], Awaitable[None]] | None = None
    """Returns once the store has the events that have happened so far: what is written here says
    that they were told. Raises `StoreUnavailable`."""
    _pending: dict[str, Slept | None] = field(factory=dict)
    """By incarnation, what isn't in the store yet; None for one that doesn't sleep any more."""
    _trouble: StoreUnavailable | None = None
    """Why the last commit failed."""
    _is_over: bool = False
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _waiters: dict[str, trio.Event] = field(factory=dict)
    _scope: trio.CancelScope = field(factory=_shield)

    @property
    def is_idle(self) -> bool:
        """Whether the store knows all."""
        return not self._pending

    def note(self, slept: Slept) -> None:
        """One sleeps, and is as it is said here."""
        self._pending[slept.state.incarnation] = slept
        self._arrived.unpark_all()

    def strike(self, incarnation: str) -> None:
        """One doesn't sleep any more: it wakes, or has ended."""
        self._pending[incarnation] = None
        self._arrived.unpark_all()

    async def settle(self, incarnation: str) -> None:
        """Return when the store knows all that there is to be known of one.

        Raises:
            StoreUnavailable: It can't be written now. It will be tried again.

        Cancellation: it is written all the same.
        """
        while incarnation in self._pending:
            woken = self._waiters.setdefault(incarnation, trio.Event())
            await woken.wait()
            if self._trouble is not None and incarnation in self._pending:
                raise StoreUnavailable(str(self._trouble)) from self._trouble

    async def run(self) -> None:
        """Bring it into the store until `stop` was called and all is there.

        Cancellation: it is shielded until `stop`.
        """
        try:
            with self._scope:
                while self._pending or not self._is_over:
                    if self._pending:
                        await self._write()
                    else:
                        await self._arrived.park()
        finally:
            if self._pending:
                extra = {"waiting": len(self._pending)}
                _log.error("the store doesn't know which gatherings slept at the end", extra=extra)
            self._tell(tuple(self._waiters))

    def stop(self, deadline: float) -> None:
        """No more comes; `run` ends once all is in the store, or at the deadline."""
        self._is_over = True
        self._scope.deadline = deadline
        self._arrived.unpark_all()

    async def _write(self) -> None:
        some = dict(islice(self._pending.items(), AT_ONCE))
        try:
            with store_trouble():
                if self.events is not None:
                    await self.events()
                    # One that has ended meanwhile: the store was told that it isn't there any more.
                    some = {name: self._pending[name] and one for name, one in some.items()}
                asleep = [one for one in some.values() if one is not None]
                awake = [name for name, one in some.items() if one is None]
                await self.store.write_sleep(asleep=asleep, awake=awake)
        except StoreUnavailable as error:
            if self._trouble is None:
                extra = {"why": str(error)}
                _log.warning("the store can't be told which gatherings sleep", extra=extra)
            self._trouble = error
            self._tell(some)
            await trio.sleep(self.retry_interval)
            return
        self._trouble = None
        for name, one in some.items():
            if self._pending[name] is one:
                del self._pending[name]
        self._tell(some)

    def _tell(self, names: "dict[str, Slept | None] | tuple[str, ...]") -> None:
        """Wake those who wait."""
        for name in names:
            waiter = self._waiters.pop(name, None)
            if waiter is not None:
                waiter.set()


@asynccontextmanager
async def open_sleep_book(
    store: Store, settings: HallSettings
) -> AsyncIterator[tuple[SleepBook | None, tuple[Slept, ...]]]:
    """Keep a book as long as the block lasts; say who sleeps since an earlier process.

    Raises:
        StoreUnavailable: The store can't be read now.

    Cancellation: what was noted by the end of the block is written within `close_grace` seconds.
    """
    if not isinstance(store, SleepStore):
        yield None, ()
        return
    slept = await store.sleeping()
    book = SleepBook(store, settings.commit_retry_interval)
    async with open_hidden_nursery() as nursery:
        nursery.start_soon(book.run)
        try:
            yield book, slept
        finally:
            book.stop(trio.current_time() + max(settings.close_grace, LAST_FLUSH))
