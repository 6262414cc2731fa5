"""Group commit: all that arrives while one commit runs goes together into the next."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from threading import get_ident

import msgspec
import trio
from attrs import define, field

from squire_gatherings._hall.store import Outcome
from squire_gatherings._values.errors import StoreUnavailable
from squire_gatherings._values.log import Append

Take = Callable[[], Sequence[Append]]
"""Returns the next batch: all appends whose outcome isn't reported yet. There may be none."""

Report = Callable[[Sequence[Outcome]], None]
"""Takes the outcome of each append in the batch, once it's committed."""

Session = Callable[[Take, Report], Awaitable[None]]
"""Commits batches, as long as there are any; may take and report on a thread of its own.

If it raises `StoreUnavailable`, that is the outcome of all that waits. It may return early: what
was taken and isn't reported is taken again in the next session.
"""


class _Waiting(msgspec.Struct, eq=False):
    """An append that waits for its commit."""

    append: Append
    ended: Callable[[Outcome], None]
    """Tells the one who appends."""
    others: trio.Event | None = None
    """Is set then, for others who wait."""
    is_settled: bool = False

    def settle(self, outcome: Outcome) -> None:
        if not self.is_settled:
            self.is_settled = True
            self.ended(outcome)
            if self.others is not None:
                self.others.set()


def _scope() -> trio.CancelScope:
    return trio.CancelScope(shield=True)


@define(eq=False)
class GroupCommitter:
    """Collects appends of all gatherings, for a session to commit them, one batch at a time.

    The next batch is taken where the last one was committed, on the session's thread. The way
    through Trio's thread, which has other things to do, would take as long again.
    """

    _session: Session
    commits: int = 0
    """How many transactions were committed."""
    _queue: deque[_Waiting] = field(factory=deque)
    _batch: list[_Waiting] = field(factory=list)
    """What was taken and isn't reported yet. Only the session changes it, while there is one."""
    _under_way: set[_Waiting] = field(factory=set)
    """What isn't settled."""
    _has_reported: bool = False
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _shield: trio.CancelScope = field(factory=_scope)
    _stopped: bool = False
    _trio: trio.lowlevel.TrioToken | None = None
    _trio_thread: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits to be committed."""
        return not (self._queue or self._batch or self._under_way)

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> None:
        """Let `append` be committed; `ended` is called with what came of it."""
        if self._stopped:
            ended(StoreUnavailable("the store is closed"))
            return
        waiting = _Waiting(append, ended)
        self._under_way.add(waiting)
        self._queue.append(waiting)
        if self._arrived:
            # To wake nobody costs more than all the rest here.
            self._arrived.unpark()

    async def append(self, append: Append) -> None:
        """Return once `append` is committed; raise its outcome if it wasn't.

        Cancellation: before it began, it appends nothing; later, it abandons the wait, and the
        append may still be committed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        settled = trio.Event()
        outcomes: list[Outcome] = []

        def ended(outcome: Outcome) -> None:
            outcomes.append(outcome)
            settled.set()

        self.append_nowait(append, ended)
        await settled.wait()
        if outcomes[0] is not None:
            raise outcomes[0]

    async def settled(self, gathering: str) -> None:
        """Wait until nothing of `gathering` is under way; a checkpoint only if something is.

        A read of the log after this doesn't miss an append whose caller was cancelled.

        Cancellation: abandons the wait, which changes nothing.
        """
        for waiting in tuple(self._under_way):
            if waiting.append.gathering == gathering and not waiting.is_settled:
                if waiting.others is None:
                    waiting.others = trio.Event()
                await waiting.others.wait()

    async def run(self) -> None:
        """Commit until `stop` is called, and all that waits then.

        Cancellation: it is shielded until `stop`, as tasks that are cancelled may still append, and
        for the seconds that `stop` allows after that.
        """
        self._trio, self._trio_thread = trio.lowlevel.current_trio_token(), get_ident()
        try:
            with self._shield:
                while self._queue or self._batch or not self._stopped:
                    if not (self._queue or self._batch):
                        await self._arrived.park()
                        continue
                    self._has_reported = False
                    try:
                        await self._session(self._take, self._report)
                    except StoreUnavailable as error:
                        # Also what it never took: it may have failed before it could.
                        self._drain()
                        batch, self._batch = self._batch, []
                        self._settle_all(batch, str(error))
        finally:
            self._stopped = True
            self._queue.clear()
            self._batch = []
            self._settle_all(tuple(self._under_way), "the store is closed")

    def stop(self, flush_timeout: float) -> None:
        """Take nothing more, and let `run` return once it has committed what waits.

        Args:
            flush_timeout: How many seconds it has for that.
        """
        self._stopped = True
        self._shield.deadline = trio.current_time() + flush_timeout
        self._arrived.unpark()

    def _take(self) -> list[Append]:
        # At the end each batch has a session of its own. Between two of them `run` may find that
        # its time is up.
        if not (self._stopped and self._has_reported):
            self._drain()
        return [waiting.append for waiting in self._batch]

    def _drain(self) -> None:
        while self._queue:
            self._batch.append(self._queue.popleft())

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        if len(outcomes) != len(self._batch):
            raise ValueError(f"{len(outcomes)} outcomes for {len(self._batch)} appends")
        batch, self._batch = self._batch, []
        self._has_reported = True
        if get_ident() == self._trio_thread:
            self._committed(batch, outcomes)
            return
        assert self._trio is not None
        # In order, and before Trio learns that the session has ended.
        self._trio.run_sync_soon(self._committed, batch, outcomes)

    def _committed(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        self.commits += 1
        self._under_way.difference_update(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):  # as `_report` has checked
            waiting.settle(outcome)

    def _settle_all(self, batch: Sequence[_Waiting], reason: str) -> None:
        self._under_way.difference_update(batch)
        for waiting in batch:
            # An exception of its own for each: raising one adds to its traceback.
            waiting.settle(StoreUnavailable(reason))
