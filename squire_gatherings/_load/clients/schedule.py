"""The schedule of a generator process: what it does at which moment, in one task."""

import heapq
from collections.abc import Callable
from itertools import count
from time import monotonic

import trio

TURN_LIMIT = 200
"""How many entries are served before the sockets get their turn."""


class Schedule:
    """Calls functions when they are due. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._scope = trio.CancelScope()

    def at(self, due: float, do: Callable[[], None]) -> None:
        """Call `do` when `due` has come, later by as much as this process lags."""
        heapq.heappush(self._heap, (due, next(self._numbers), do))
        if self._heap[0][0] == due:
            self._scope.deadline = min(self._scope.deadline, _trio_time(due))

    def clear(self) -> None:
        """Forget everything that is planned."""
        self._heap.clear()

    async def run(self) -> None:
        """Call what is due until cancelled.

        Raises:
            Exception: Whatever a function raises; that ends it.

        Cancellation: what is planned stays planned; what is being called is called to its end.
        """
        heap = self._heap
        while True:
            for _ in range(TURN_LIMIT):
                if not heap or heap[0][0] > monotonic():
                    break
                heapq.heappop(heap)[2]()
            if heap and heap[0][0] <= monotonic():
                await trio.lowlevel.checkpoint()
                continue
            self._scope = trio.CancelScope()
            if heap:
                self._scope.deadline = _trio_time(heap[0][0])
            with self._scope:
                await trio.sleep_forever()


def _trio_time(due: float) -> float:
    return trio.current_time() + due - monotonic()
