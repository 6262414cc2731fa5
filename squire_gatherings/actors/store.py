"""What a hall asks of a store; squire_gatherings.edges.stores has the implementations."""

from typing import Protocol

from attrs import frozen

from squire_gatherings.values.op import Op


@frozen
class LoggedOp:
    """An op as it stands in the log; its seq follows from its place."""

    op: Op
    by: str | None


@frozen
class SyncRecord:
    """That a sync was applied: remembered for ever, so that it's never applied again.

    `scope` says whose id it is; `fingerprint` tells a repeated sync from a reused id.
    """

    scope: str
    id: str
    first_seq: int
    count: int
    fingerprint: int


@frozen
class Snapshot:
    """What the behaviour's state was after the op `seq`, as JSON bytes."""

    seq: int
    state: bytes


@frozen
class Append:
    """One atomic addition to one gathering's log.

    `ops` have the seqs from `first_seq` on; `syncs` say which syncs they came from.
    """

    gathering: str
    first_seq: int
    ops: tuple[LoggedOp, ...]
    syncs: tuple[SyncRecord, ...]
    snapshot: Snapshot | None = None


@frozen
class Restored:
    """What a gathering starts from: a snapshot, the ops after it, and recent sync ids.

    `seq` is the seq of the last op (0 for a new gathering); `ops` end there and begin
    after the snapshot's seq (at 1 without one); `recent` are the newest syncs, oldest
    first, and `has_older` tells whether the store knows more than those.
    """

    seq: int = 0
    snapshot: Snapshot | None = None
    ops: tuple[LoggedOp, ...] = ()
    recent: tuple[SyncRecord, ...] = ()
    has_older: bool = False


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

    def append_nowait(self, append: Append) -> bool:
        """Append at once if that needs no waiting; False if `append` must be called."""
        ...

    async def append(self, append: Append) -> None:
        """Make `append` durable; return only once it is.

        The same append twice is applied once (a failed commit may have succeeded after
        all). Raises `StoreConflict`, with nothing written, where the store's log doesn't end just before
        `first_seq`.
        """
        ...

    async def read(self, gathering: str, *, after: int, up_to: int, max_bytes: int) -> tuple[LoggedOp, ...]:
        """Read consecutive ops from seq `after` + 1 to `up_to`, as many as `max_bytes` allow.

        At least one if there is any.
        """
        ...

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        """Find which of these (scope, id) were applied."""
        ...
