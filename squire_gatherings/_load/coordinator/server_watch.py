"""The server's figures: its memory and its CPU time, read from outside while the test runs."""

from time import monotonic

import psutil  # type: ignore[import-untyped]
import trio

from squire_gatherings._load.checks.memory import Memory, costs, peak
from squire_gatherings._load.plan import Plan

SAMPLE_EVERY = 0.5


class ServerWatch:
    """Reads one server process, as long as it's there. Units: bytes, seconds since the start."""

    def __init__(self, pid: int, plan: Plan) -> None:
        self._pid = pid
        self._plan = plan
        self._start = 0.0
        self._at_start: int | None = None
        self._at_end: int | None = None
        self._ended_at: float | None = None
        self._with_first: int | None = None
        """Memory when the first clients were there."""
        self._with_all: int | None = None
        """Memory when all clients were there."""
        self.samples: list[tuple[float, int]] = []
        """Resident memory over the run: (seconds since the start, bytes)."""
        self.cpu_share: float | None = None
        """How much of a CPU the server used while there was a load."""

    def memory(self) -> int | None:
        """Return the resident memory now; None when the process is gone."""
        try:
            return int(psutil.Process(self._pid).memory_info().rss)
        except psutil.Error:
            return None

    def _cpu(self) -> float | None:
        try:
            times = psutil.Process(self._pid).cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def before_start(self) -> None:
        """Read what is in use before anybody comes."""
        self._at_start = self.memory()

    def all_ended(self) -> None:
        """All gatherings have ended: read what is in use."""
        self._at_end = self.memory()
        self._ended_at = monotonic() - self._start

    async def run(self, start: float) -> None:
        """Read it from now on, until it's gone or this is cancelled.

        Args:
            start: `time.monotonic` at second 0.
        """
        self._start = start
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sample)
            nursery.start_soon(self._sample_ramp)

    async def _sample(self) -> None:
        """Read its memory twice a second, and its CPU time from the first op to the last."""
        before: tuple[float, float] | None = None
        while True:
            at = monotonic() - self._start
            memory, cpu = self.memory(), self._cpu()
            if memory is None or cpu is None:
                return
            self.samples.append((at, memory))
            loaded = at >= self._plan.ramp and self._ended_at is None
            if loaded and before is None:
                before = (at, cpu)
            elif loaded and before is not None and at <= self._plan.load_ends:
                self.cpu_share = (cpu - before[1]) / (at - before[0])
            await trio.sleep(SAMPLE_EVERY)

    async def _sample_ramp(self) -> None:
        """Read its memory when one client of each gathering is there, and when all are."""
        await self._until(self._plan.memory_read_at(first=True))
        self._with_first = self.memory()
        await self._until(self._plan.memory_read_at(first=False))
        self._with_all = self.memory()

    async def _until(self, at: float) -> None:
        await trio.sleep(max(0.0, self._start + at - monotonic()))

    def figures(
        self, *, first_done: float | None, all_done: float | None, audited: bool
    ) -> Memory | None:
        """Return what the readings say; None if the server was gone when one was due.

        Args:
            first_done: When the first clients of all gatherings had joined; None: never.
            all_done: When everybody had; None: never.
            audited: Whether everybody has joined once more.
        """
        start, end = self._at_start, self._at_end
        if start is None or end is None or self._ended_at is None:
            return None
        # A reading in the ramp counts only if everybody was there by then.
        with_first, with_all = self._with_first, self._with_all
        if first_done is None or first_done > self._plan.memory_read_at(first=True):
            with_first = None
        if all_done is None or all_done > self._plan.memory_read_at(first=False):
            with_all = None
        gathering, connection = costs(self._plan, start, with_first, with_all)
        before = [one for one in self.samples if one[0] <= self._ended_at]
        after = self.samples[len(before) :]
        return Memory(
            start=start,
            peak=peak(before, max(start, end)),
            end=end,
            again=peak(after, self.memory() or end) if audited else None,
            per_gathering=gathering,
            per_connection=connection,
        )


def find_process(port: int) -> int | None:
    """Return which process of this machine listens on a port, if that can be told."""
    try:
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and connection.laddr.port == port and connection.pid:
                return int(connection.pid)
    except (psutil.Error, OSError):
        pass
    return None
