"""What a hall asks of a store; squire_gatherings._stores has the implementations."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from squire_gatherings._rules.op_log import MOST_OPS
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord

__all__ = [
    "READ_LIMIT",
    "Append",
    "LoggedOp",
    "Outcome",
    "Restored",
    "Snapshot",
    "Store",
    "SyncRecord",
    "read_page",
    "store_trouble",
]

_log = logging.getLogger(__name__)

Outcome = Exception | None
"""What an append came to: None once it's durable, or what `append` would have raised."""


READ_LIMIT = MOST_OPS
"""How many ops one `Store.read` returns at most, however small they are."""


class Store(Protocol):
    """Where logs last. Everything here raises `StoreUnavailable` when the store can't now.

    Every async call is a checkpoint. One that is cancelled before it began does nothing. Cancelling
    it later abandons a wait: a read changes nothing, and an append that was under way may become
    durable or not; it may be repeated, as after a commit that failed.

    No text here may have a lone surrogate: an append with one is refused, and what is asked with
    one isn't there.
    """

    @property
    def name(self) -> str:
        """What to call the store in logs: no secrets."""
        ...

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation of `gathering` starts from.

        That is after any append of it whose outcome isn't known yet. All ops after the snapshot are
        read at once: whoever appends decides by its snapshots how many that are.
        """
        ...

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append without waiting; True if it's durable now.

        If not, `ended` is called once, on Trio's thread, with what came of it. It raises nothing,
        and nobody may be interested any more. Raises `trio.WouldBlock` where `append` must be
        called instead, and otherwise what `append` raises, with nothing written.
        """
        ...

    async def append(self, append: Append) -> None:
        """Make `append` durable; return only once it is.

        The same append twice is applied once (a failed commit may have succeeded after
        all). Raises `StoreConflict`, with nothing written, where the store's log doesn't
        end just before `first_seq`, and `ValueError`, with nothing written, where `append` is
        one that the store can't hold now or ever: to repeat it is no use.
        """
        ...

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops from seq `after` + 1 to `up_to`, as many as `max_bytes` allow.

        An op counts with what it adds to a message (`values.log.encoded_size`): at least one is
        read if there is any, and at most `READ_LIMIT` are.
        """
        ...

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find which of these (scope, id) were applied."""
        ...

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return the ids of the syncs of one scope that were applied, at most `limit` of them."""
        ...


_lock: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("pages")


def _turns() -> trio.Lock:
    """Return what whoever wants a page holds for a turn: one for all that this thread runs."""
    try:
        return _lock.get()
    except LookupError:
        _lock.set(trio.Lock())
        return _lock.get()


@contextmanager
def store_trouble() -> Iterator[None]:
    """Around each reading of a store, and what is made of it: its faults are `StoreUnavailable`.

    That is what a store may raise. Anything else is logged: other errors of ours, which would mean
    something else to callers, and what comes of answers that it mustn't give.
    """
    try:
        yield
    except StoreUnavailable as error:
        # One of a class of its own may not be made again for others who wait.
        raise StoreUnavailable(str(error)) from error
    except Exception as error:
        _log.exception("the store failed")
        raise StoreUnavailable(f"the store failed: {type(error).__name__}") from error


async def read_page(
    store: Store, gathering: str, *, after: int, up_to: int, max_bytes: int
) -> tuple[LoggedOp, ...]:
    """Read ops as `Store.read` does. Raises `StoreUnavailable`, and nothing else.

    However many ask, in each turn of the scheduler one begins: to make use of a page takes long.
    """
    async with _turns():
        pass
    with store_trouble():
        page = await store.read(gathering, after=after, up_to=up_to, max_bytes=max_bytes)
        if not isinstance(page, tuple) or not all(isinstance(one, LoggedOp) for one in page):
            raise TypeError(f"read returned {page!r:.80}")
        return page
