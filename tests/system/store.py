"""A store that fails on command, and a disk that outlives the process that writes it.

The disk checks each append against the contract: it replaces no op, comes in order, and has only
ops that were submitted.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import trio
from attrs import define, field

from squire_gatherings import Append, LoggedOp, Outcome, Restored, StoreUnavailable, SyncRecord
from squire_gatherings._rules.chain import head_after, head_of
from squire_gatherings._stores import MemoryStore
from tests.system.truth import Truth

T = TypeVar("T")

Mood = Literal["now", "later", "waits", "busy", "full", "torn", "broken", "broken torn"]
"""The outcome of an append.

It's durable at once ("now"), later with a call back ("later"), or while the caller waits ("waits").
It fails later ("busy") or at once ("full"), or fails though it's durable ("torn"). A "broken" store
raises an error that the contract doesn't name.
"""

APPENDS: tuple[Mood, ...] = (
    "now", "later", "waits", "busy", "full", "torn", "broken", "broken torn"
)  # fmt: skip
READS = ("quick", "slow", "fails", "slow and fails")


class DiskBroke(Exception):
    """The error of a store that is broken for good."""


@define(eq=False)
class Disk:
    """What is durable."""

    truth: Truth
    content: MemoryStore = field(factory=MemoryStore)
    chained: dict[str, tuple[bytes, int]] = field(factory=dict)
    """The head of each gathering's chain, and the time of its last op."""

    async def write(self, append: Append) -> None:
        """Make an append durable. Raises what the contract names."""
        try:
            await self.content.append(append)
        except Exception as error:
            self.truth.fault(f"an append that can't be: {error!r}")
            raise
        self.note(append)

    def write_nowait(self, append: Append) -> None:
        """Do the same as `write`, at once."""
        try:
            self.content.append_nowait(append, lambda _: None)
        except Exception as error:
            self.truth.fault(f"an append that can't be: {error!r}")
            raise
        self.note(append)

    def note(self, append: Append) -> None:
        """Tell the `Truth` what is new in an append."""
        log = self.truth.log(append.gathering)
        if append.first_seq <= len(log):
            # The append is there already; the contract allows to repeat it.
            return
        self.truth.appended(append)
        head, time = self.chained.get(append.gathering, (b"", 0))
        if head_of(append) != head_after(head, append):
            self.truth.fault(f"op {append.first_seq} isn't chained to the one before it")
        times = [time, *(logged.time for logged in append.ops)]
        if times != sorted(times) or len(set(times[1:])) > 1:
            self.truth.fault(f"the times before and in one append are {times}")
        self.chained[append.gathering] = head_of(append), times[-1]


@define(eq=False)
class TroubledStore:
    """One process's access to the disk: a `Store`."""

    disk: Disk
    nursery: trio.Nursery
    append_mood: Mood = "now"
    read_mood: str = "quick"
    delay: float = 0.3
    dead: bool = False
    """Whether its process was killed."""
    lands: bool = False
    """Whether the appends under way then become durable."""
    name: str = "troubled:"
    _pending: Counter[str] = field(factory=Counter)
    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    # Appends.

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        if self.dead:
            return False
        match self.append_mood:
            case "now":
                self.disk.write_nowait(append)
                self._began(append)
                self._ended(append, None)
                return True
            case "full":
                self._began(append)
                error = StoreUnavailable("the disk is full")
                self._ended(append, error)
                raise error
            case "waits":
                raise trio.WouldBlock
        self._began(append)
        self.nursery.start_soon(self._append_later, append, self.append_mood, ended)
        return False

    async def append(self, append: Append) -> None:
        mood: Mood = "later" if self.append_mood in ("now", "waits") else self.append_mood
        await trio.lowlevel.checkpoint_if_cancelled()
        self._began(append)
        try:
            outcome = await self._come_to(append, mood)
        except trio.Cancelled:
            self._ended(append, None)
            raise
        self._ended(append, outcome)
        if outcome is not None:
            raise outcome

    async def _append_later(
        self, append: Append, mood: Mood, ended: Callable[[Outcome], None]
    ) -> None:
        outcome = await self._come_to(append, mood)
        if not self.dead:
            self._ended(append, outcome)
            ended(outcome)

    async def _come_to(self, append: Append, mood: Mood) -> Outcome:
        await trio.sleep(self.delay)
        if self.dead:
            if self.lands:
                self.disk.write_nowait(append)
            await trio.sleep_forever()
        match mood:
            case "busy" | "full":
                return StoreUnavailable("the disk is busy")
            case "broken":
                return DiskBroke("for good")
        try:
            await self.disk.write(append)
        except Exception as error:
            return error
        match mood:
            case "torn":
                return StoreUnavailable("nobody knows what became of it")
            case "broken torn":
                return DiskBroke("for good")
        return None

    def _began(self, append: Append) -> None:
        self._pending[append.gathering] += 1
        self.disk.truth.append_began(append.gathering)

    def _ended(self, append: Append, outcome: Outcome) -> None:
        self._pending[append.gathering] -= 1
        self._lot.unpark_all()
        self.disk.truth.append_ended(append.gathering, outcome)

    # Reads.

    async def load(self, gathering: str, *, recent_syncs: int) -> Restored:
        while self._pending[gathering]:
            await self._lot.park()
        return await self._read(
            gathering, lambda: self.disk.content.load(gathering, recent_syncs=recent_syncs)
        )

    async def read(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[LoggedOp, ...]:
        return await self._read(
            gathering,
            lambda: self.disk.content.read(
                gathering, after=after, up_to=up_to, max_bytes=max_bytes
            ),
        )

    async def find_syncs(
        self, gathering: str, keys: tuple[tuple[str, str], ...]
    ) -> dict[tuple[str, str], SyncRecord]:
        return await self._read(gathering, lambda: self.disk.content.find_syncs(gathering, keys))

    async def size(self, gathering: str) -> int:
        return await self._read(gathering, lambda: self.disk.content.size(gathering))

    async def sync_ids(self, gathering: str, scope: str, *, limit: int) -> tuple[str, ...]:
        return await self._read(
            gathering, lambda: self.disk.content.sync_ids(gathering, scope, limit=limit)
        )

    async def find_head(self, gathering: str, *, seq: int) -> bytes | None:
        return await self._read(gathering, lambda: self.disk.content.find_head(gathering, seq=seq))

    async def _read(self, gathering: str, read: Callable[[], Awaitable[T]]) -> T:
        mood, truth = self.read_mood, self.disk.truth
        await trio.lowlevel.checkpoint_if_cancelled()
        truth.read_began(gathering)
        try:
            if mood.startswith("slow"):
                await trio.sleep(self.delay)
            if self.dead:
                await trio.sleep(math.inf)
            found = await read()
            if mood.endswith("fails"):
                raise StoreUnavailable("the disk can't be read")
            return found
        finally:
            truth.read_ended(gathering)
