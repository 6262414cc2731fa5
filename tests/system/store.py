"""A store that fails on command, and a disk that outlives the process that writes it.

The disk checks each append against the contract: it replaces no op, comes in order, and has only
ops that were submitted.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

import trio
from attrs import define, evolve, field

from squire_gatherings import (
    Append,
    EventsLeft,
    LifecycleEvent,
    LoggedOp,
    LogInfo,
    Outcome,
    Restored,
    StoreUnavailable,
    SyncRecord,
    Tombstone,
)
from squire_gatherings._rules.chain import head_after, head_of
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.archive import LogCopy
from squire_gatherings._values.log import Snapshot
from tests.system.logs import Log, Logged
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
EVENTS = ("now", "slow", "fails", "torn", "slow and fails")
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
        """Do the same as `write_nowait`, with a checkpoint."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.write_nowait(append)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def write_nowait(self, append: Append) -> None:
        """Make an append durable. Raises what the contract names."""
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

    # Whole logs.

    async def delete(self, gathering: str, time: int) -> Tombstone | None:
        """Delete a log. The next one goes on with the chain, and has times of its own."""
        tombstone = await self.content.delete(gathering, time=time)
        if tombstone is not None:
            head, _ = self.chained.get(gathering, (b"", 0))
            self.truth.check(tombstone.head == head, f"{gathering}: a wrong head: {tombstone}")
            last = len(self.truth.log(gathering))
            self.truth.check(tombstone.seq == last, f"{gathering} had {last} ops: {tombstone}")
            self.truth.replaced(gathering, Log())
            self.truth.happened["deleted"] += 1
            self.chained[gathering] = head, 0
        return tombstone

    async def fork(self, gathering: str, new: str, seq: int) -> int:
        """Copy a log up to an op."""
        last = await self.content.fork(gathering, new, seq=seq)
        self.truth.forked(gathering, new, last)
        await self._chain(new)
        return last

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a log that was exported."""
        links = tuple(copy.links)
        last = await self.content.adopt(evolve(copy, links=links))
        ops = [
            Logged(one.op.value, one.by, one.epoch, one.time) for link in links for one in link.ops
        ]
        self.truth.adopted(copy.gathering, copy.first_seq, ops)
        await self._chain(copy.gathering)
        return last

    async def compact(
        self, gathering: str, up_to: int, state: bytes | None, *, forget_syncs: bool
    ) -> int:
        """Leave out the ops up to a snapshot."""
        first_seq = await self.content.compact(
            gathering, up_to=up_to, state=state, forget_syncs=forget_syncs
        )
        self.truth.compacted(gathering, first_seq, up_to, state or b"", forget_syncs=forget_syncs)
        return first_seq

    async def _chain(self, gathering: str) -> None:
        """Go on with the chain that a copy has."""
        info = await self.content.describe(gathering)
        assert info is not None
        self.chained[gathering] = info.head, info.last_time


@define(eq=False)
class TroubledStore:
    """One process's access to the disk: a `Store`."""

    disk: Disk
    nursery: trio.Nursery
    append_mood: Mood = "now"
    read_mood: str = "quick"
    event_mood: str = "now"
    """How lifecycle events are written; "torn" writes them, and says that it didn't."""
    delay: float = 0.3
    dead: bool = False
    """Whether its process was killed."""
    name: str = "troubled:"
    under_way: list[Append] = field(factory=list)
    _pending: Counter[str] = field(factory=Counter)
    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def die(self, *, lands: bool) -> None:
        """Note that the process is killed; with `lands`, the appends under way become durable."""
        self.dead = True
        if lands:
            for append in self.under_way:
                self.disk.write_nowait(append)

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
        self.under_way.append(append)
        try:
            await trio.sleep(self.delay)
            if self.dead:
                await trio.sleep_forever()
        finally:
            self.under_way.remove(append)
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

    # Logs as they were, and whole logs.

    async def snapshot_at(self, gathering: str, *, seq: int) -> Snapshot | None:
        return await self._read(
            gathering, lambda: self.disk.content.snapshot_at(gathering, seq=seq)
        )

    async def seq_at(self, gathering: str, *, time: int) -> int:
        return await self._read(gathering, lambda: self.disk.content.seq_at(gathering, time=time))

    async def list_logs(self, *, after: str = "", limit: int = 100) -> tuple[LogInfo, ...]:
        return await self.disk.content.list_logs(after=after, limit=limit)

    async def describe(self, gathering: str) -> LogInfo | None:
        return await self._read(gathering, lambda: self.disk.content.describe(gathering))

    async def read_links(
        self, gathering: str, *, after: int, up_to: int, max_bytes: int
    ) -> tuple[Append, ...]:
        return await self._read(
            gathering,
            lambda: self.disk.content.read_links(
                gathering, after=after, up_to=up_to, max_bytes=max_bytes
            ),
        )

    async def older_syncs(self, gathering: str) -> tuple[SyncRecord, ...]:
        return await self._read(gathering, lambda: self.disk.content.older_syncs(gathering))

    async def syncs_of(self, gathering: str, *, after: int, up_to: int) -> tuple[SyncRecord, ...]:
        return await self._read(
            gathering, lambda: self.disk.content.syncs_of(gathering, after=after, up_to=up_to)
        )

    async def end_of_append(self, gathering: str, *, seq: int) -> int:
        return await self._read(
            gathering, lambda: self.disk.content.end_of_append(gathering, seq=seq)
        )

    async def has_log(
        self, gathering: str, *, first_seq: int | None, seq: int, head: bytes
    ) -> bool:
        return await self.disk.content.has_log(gathering, first_seq=first_seq, seq=seq, head=head)

    async def changes(self) -> int:
        return await self.disk.content.changes()

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        return await self._change(gathering, lambda: self.disk.delete(gathering, time))

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        return await self._change(
            gathering,
            lambda: self.disk.compact(gathering, up_to, state, forget_syncs=forget_syncs),
        )

    async def adopt(self, copy: LogCopy) -> int:
        return await self._change(copy.gathering, lambda: self.disk.adopt(copy))

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        return await self._change(new, lambda: self.disk.fork(gathering, new, seq))

    # Lifecycle events.

    async def begin_events(self) -> EventsLeft:
        return await self.disk.content.begin_events()

    def end_events(self) -> None:
        self.disk.content.end_events()

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        mood = self.event_mood
        await trio.lowlevel.checkpoint()
        if mood.startswith("slow"):
            await trio.sleep(self.delay)
        if self.dead or mood.endswith("fails"):
            raise StoreUnavailable("no events can be written")
        await self.disk.content.write_events(events)
        self.disk.truth.events_written(events, all_well=mood != "torn")
        if mood == "torn":
            raise StoreUnavailable("nobody knows what became of the events")

    async def read_events(
        self, *, after: int, up_to: int, limit: int
    ) -> tuple[LifecycleEvent, ...]:
        await trio.lowlevel.checkpoint()
        if self.dead or self.read_mood.endswith("fails"):
            raise StoreUnavailable("no events can be read")
        return await self.disk.content.read_events(after=after, up_to=up_to, limit=limit)

    async def forget_events(self, *, up_to: int) -> None:
        await trio.lowlevel.checkpoint()
        if self.dead or self.append_mood in ("busy", "full"):
            raise StoreUnavailable("no events can be forgotten")
        await self.disk.content.forget_events(up_to=up_to)

    # All of it.

    async def erase(self) -> None:
        await self.disk.content.erase()

    async def _change(self, gathering: str, change: Callable[[], Awaitable[T]]) -> T:
        """Change a whole log as appends go: at once, later, not at all, or in spite of an error."""
        mood = self.append_mood
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._pending[gathering]:
            await self._lot.park()
        if mood not in ("now", "waits"):
            await trio.sleep(self.delay)
        if self.dead:
            await trio.sleep_forever()
        match mood:
            case "busy" | "full":
                raise StoreUnavailable("the disk is busy")
            case "broken":
                raise DiskBroke("for good")
        with trio.CancelScope(shield=True):
            found = await change()
        match mood:
            case "torn":
                raise StoreUnavailable("nobody knows what became of it")
            case "broken torn":
                raise DiskBroke("for good")
        return found

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
