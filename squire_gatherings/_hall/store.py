"""The store: what a hall needs of it; `squire_gatherings._stores` has implementations."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import trio

from squire_gatherings._rules.op_log import MOST_OPS
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append, LoggedOp, Restored, SyncRecord

_log = logging.getLogger(__name__)

Outcome = Exception | None
"""What an append came to: None once it's durable, or what `append` would have raised."""


class Unstorable(ValueError):
    """An append that the store can't hold, now or ever: to repeat it is no use.

    `syncs` are the (scope, id) of the syncs in it that are to blame. Where the store can't tell,
    there are none, and all syncs of the append are refused from then on.
    """

    def __init__(self, text: str, syncs: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.syncs = tuple(syncs)


READ_LIMIT = MOST_OPS
"""How many ops one `Store.read` returns at most, however small they are."""


class Store(Protocol):
    """Where logs last. Everything here raises `StoreUnavailable` when the store can't now.

    Every async call is a checkpoint. One that is cancelled before it began does nothing. One that
    is cancelled later abandons a wait: a read changes nothing, and an append that was under way
    may become durable or not. It may be repeated, as after a commit that failed.

    No text here may have a lone surrogate: an append with one is refused, and nothing is found
    under a name with one.
    """

    @property
    def name(self) -> str:
        """What to call the store in logs: no secrets."""
        ...

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation starts from.

        It has all appends whose outcome isn't known yet behind it. All ops after the last snapshot
        are read at once: the one who appends decides by its snapshots how many those are.

        Args:
            gathering: The gathering's id.
            recent_syncs: How many of the last syncs are wanted, at most.
        """
        ...

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Append without waiting.

        A store chooses when the head of the log's chain after the append is computed. One that
        keeps each head calls `head_of(append)`, on any thread, before it says that the append is
        durable; then the gathering knows it, too. One that doesn't finds heads by itself when it is
        asked for them (`load`, `find_head`), or keeps none.

        Args:
            append: What to append.
            ended: Called once, on Trio's thread, with what came of it, unless it's durable
                already. It raises nothing, and may come when nobody is interested any more.

        Returns:
            Whether it's durable already.

        Raises:
            trio.WouldBlock: `append` must be called instead.
            Exception: As `append`, with nothing written.
        """
        ...

    async def append(self, append: Append) -> None:
        """Make `append` durable; return only once it is.

        The same append twice is applied once (a failed commit may have succeeded after all).

        Raises:
            StoreConflict: The store's log doesn't end just before `first_seq`; nothing is
                written.
            ValueError: The store can't hold this append, now or ever; nothing is written, and to
                repeat it is no use. (An `Unstorable` says which of its syncs are to blame, so that
                the others are taken when they are sent again.)
        """
        ...

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops.

        Args:
            gathering: The gathering's id.
            after: The seq before that of the first op.
            up_to: The seq of the last op, at most.
            max_bytes: How many bytes the ops may have, each with what it adds to a message
                (`values.log.encoded_size`).

        Returns:
            As many ops as `max_bytes` allows, at most `READ_LIMIT`, and at least one if there is
            any; none where the first of them was left out of the log.
        """
        ...

    async def size(self, gathering: str) -> int:
        """Return how many bytes the ops of a log have, each as its JSON.

        Asked when a gathering is opened, and only where logs have a largest size (`max_log`).
        """
        ...

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Return the records of those of these (scope, id) that were applied."""
        ...

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        """Return the ids of the syncs of one scope that were applied, at most `limit` of them."""
        ...

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        """Return the head of the chain after the op `seq`.

        Asked for a proof of the log, where the store hasn't computed the head of the last append
        (see `append_nowait`), and where a client knows an older proof.

        Returns:
            The head after the append that ended there; empty if none did, or if the store keeps no
            heads. None if the store has left out what was before, so that it can't tell.
        """
        ...


@runtime_checkable
class CountsLosses(Protocol):
    """A store that may find out later that it lost what it had said to be durable."""

    @property
    def lost_commits(self) -> int:
        """In how many logs that was so."""
        ...


def lost_commits(store: Store) -> int:
    """Return in how many logs a store has lost what it had said to be durable, if it can tell."""
    return store.lost_commits if isinstance(store, CountsLosses) else 0


_lock: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("pages")


def _turns() -> trio.Lock:
    """Return the lock that a task holds for a turn before it reads a page. A thread has one."""
    try:
        return _lock.get()
    except LookupError:
        _lock.set(trio.Lock())
        return _lock.get()


@contextmanager
def store_trouble(*passing: type[Exception]) -> Iterator[None]:
    """Turn what a store's reads raise, and what its answers lead to, into `StoreUnavailable`.

    That is what a store may raise, and those `passing`. Anything else is logged: other errors of
    ours, which would mean something else to callers, and what a wrong answer leads to.
    """
    try:
        yield
    except passing:
        raise
    except StoreUnavailable as error:
        # An error of a class of the store's own can't be made again for others who wait.
        raise StoreUnavailable(str(error)) from error
    except Exception as error:
        _log.exception("the store failed")
        raise StoreUnavailable(f"the store failed: {type(error).__name__}") from error


async def read_head(store: Store, gathering: str, *, seq: int) -> bytes | None:
    """Find a head as `Store.find_head` does. Raises `StoreUnavailable`, and nothing else."""
    with store_trouble():
        head = await store.find_head(gathering, seq=seq)
        if head is not None and not isinstance(head, bytes):
            raise TypeError(f"find_head returned {head!r:.80}")
        return head


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
