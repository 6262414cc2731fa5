"""What a hall asks of a store; squire_gatherings.edges.stores has the implementations."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from squire_gatherings.values.errors import GatheringsError, StoreUnavailable
from squire_gatherings.values.log import Append, LoggedOp, Restored, Snapshot, SyncRecord

__all__ = [
    "Append",
    "LoggedOp",
    "Outcome",
    "Restored",
    "Snapshot",
    "Store",
    "SyncRecord",
    "store_trouble",
]

_log = logging.getLogger(__name__)

Outcome = Exception | None
"""What an append came to: None once it's durable, or what `append` would have raised."""


class Store(Protocol):
    """Where logs last. Everything here raises `StoreUnavailable` when the store can't now.

    Cancelling a call abandons the wait; whether an append that was under way became
    durable is then unknown.
    """

    @property
    def name(self) -> str:
        """What to call the store in logs: no secrets."""
        ...

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        """Read what a new incarnation of `gathering` starts from."""
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
        end just before `first_seq`.
        """
        ...

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        """Read consecutive ops from seq `after` + 1 to `up_to`, as many as `max_bytes` allow.

        At least one if there is any.
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


@contextmanager
def store_trouble() -> Iterator[None]:
    """Around each reading of a store: whatever it raises is an error that callers expect.

    What it may raise comes out as it is, anything else is logged and becomes `StoreUnavailable`.
    """
    try:
        yield
    except GatheringsError:
        raise
    except Exception as error:
        _log.exception("the store failed")
        raise StoreUnavailable(f"the store failed: {type(error).__name__}") from error
