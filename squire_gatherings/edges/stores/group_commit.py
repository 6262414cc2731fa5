"""Group commit: whatever waits while one commit runs goes together into the next."""

from collections.abc import Awaitable, Callable, Sequence

import trio
from attrs import define, field

from squire_gatherings.values.errors import StoreUnavailable
from squire_gatherings.values.log import Append

Outcome = Exception | None
"""What an append came to: None, or what its caller is to be told."""


@define(eq=False)
class _Waiting:
    """An append that waits for its commit."""

    append: Append
    done: trio.Event = field(factory=trio.Event)
    outcome: Outcome = None

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.done.set()


def _scope() -> trio.CancelScope:
    return trio.CancelScope(shield=True)


@define(eq=False)
class GroupCommitter:
    """Collects appends of all gatherings and commits them, one transaction at a time.

    `commit` writes a batch and returns the outcome of each append in it; if it raises
    `StoreUnavailable`, that is the outcome of all.
    """

    _commit: Callable[[Sequence[Append]], Awaitable[Sequence[Outcome]]]
    commits: int = 0
    """How many transactions were committed."""
    _queue: list[_Waiting] = field(factory=list)
    _running: list[_Waiting] = field(factory=list)
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    _shield: trio.CancelScope = field(factory=_scope)
    _stopped: bool = False

    async def append(self, append: Append) -> None:
        """Return once `append` is committed; raise its outcome if it wasn't.

        Cancellation abandons the wait; the append may still be committed.
        """
        if self._stopped:
            raise StoreUnavailable("the store is closed")
        waiting = _Waiting(append)
        self._queue.append(waiting)
        self._arrived.unpark()
        await waiting.done.wait()
        if waiting.outcome is not None:
            raise waiting.outcome

    async def settled(self, gathering: str) -> None:
        """Wait until nothing of `gathering` is under way.

        What reads the log after this doesn't miss an append whose caller was cancelled.
        """
        for waiting in (*self._running, *self._queue):
            if waiting.append.gathering == gathering:
                await waiting.done.wait()

    async def run(self) -> None:
        """Commit until `stop`: shielded, as what is cancelled around it may still append."""
        try:
            with self._shield:
                while self._queue or not self._stopped:
                    if self._queue:
                        await self._commit_queue()
                    else:
                        await self._arrived.park()
        finally:
            self._stopped = True
            closed = StoreUnavailable("the store is closed")
            for waiting in (*self._running, *self._queue):
                waiting.settle(closed)
            self._running, self._queue = [], []

    def stop(self, flush_timeout: float) -> None:
        """Take nothing more; let `run` commit what waits within so many seconds, and return."""
        self._stopped = True
        self._shield.deadline = trio.current_time() + flush_timeout
        self._arrived.unpark()

    async def _commit_queue(self) -> None:
        self._running, self._queue = self._queue, []
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._commit([waiting.append for waiting in self._running])
            self.commits += 1
        except StoreUnavailable as error:
            # An exception of its own for each: raising one adds to its traceback.
            outcomes = [StoreUnavailable(str(error)) for _ in self._running]
        for waiting, outcome in zip(self._running, outcomes, strict=True):
            waiting.settle(outcome)
        self._running = []
