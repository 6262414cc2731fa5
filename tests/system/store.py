"""The store of a system: a disk that outlives the process that writes it, and tells the truth.

The disk checks each append against the contract: it replaces no op, comes in order, and has only
ops that were submitted.
"""

from collections.abc import Callable, Sequence

import trio
from attrs import define, evolve, field

from squire_gatherings import Append, LifecycleEvent, Outcome, Tombstone
from squire_gatherings._rules.chain import head_after, head_of
from squire_gatherings._stores import MemoryStore
from squire_gatherings._values.archive import LogCopy
from squire_gatherings.testing import FailingStore, Trouble
from tests.system.logs import Log, Logged
from tests.system.truth import Truth

APPENDS: tuple[Trouble, ...] = (
    "none", "slow", "waits", "busy", "full", "torn", "broken", "broken torn"
)  # fmt: skip
EVENTS: tuple[Trouble, ...] = ("none", "slow", "full", "torn", "busy")
READS: tuple[Trouble, ...] = ("none", "slow", "full", "busy")

READING = (
    "load", "read", "find_syncs", "size", "sync_ids", "find_head", "snapshot_at", "seq_at",
    "describe", "read_links", "older_syncs", "syncs_of", "end_of_append",
)  # fmt: skip
"""The calls that read the log of one gathering."""


@define(eq=False)
class Disk(MemoryStore):
    """What is durable."""

    truth: Truth = field(kw_only=True)
    chained: dict[str, tuple[bytes, int]] = field(factory=dict)
    """The head of each gathering's chain, and the time of its last op."""
    _is_forking: bool = False

    def append_nowait(self, append: Append, ended: Callable[[Outcome], None]) -> bool:
        """Make an append durable. Raises what the contract names."""
        try:
            super().append_nowait(append, ended)
        except Exception as error:
            self.truth.fault(f"an append that can't be: {error!r}")
            raise
        self._note(append)
        return True

    async def append(self, append: Append) -> None:
        """Do the same, with a checkpoint."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.append_nowait(append, lambda _: None)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _note(self, append: Append) -> None:
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

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        """Make events durable."""
        await super().write_events(events)
        self.truth.events_written(events)

    # Whole logs.

    async def delete(self, gathering: str, *, time: int) -> Tombstone | None:
        """Delete a log. The next one goes on with the chain, and has times of its own."""
        tombstone = await super().delete(gathering, time=time)
        if tombstone is not None:
            head, _ = self.chained.get(gathering, (b"", 0))
            self.truth.check(tombstone.head == head, f"{gathering}: a wrong head: {tombstone}")
            last = len(self.truth.log(gathering))
            self.truth.check(tombstone.seq == last, f"{gathering} had {last} ops: {tombstone}")
            self.truth.replaced(gathering, Log())
            self.truth.happened["deleted"] += 1
            self.chained[gathering] = head, 0
        return tombstone

    async def fork(self, gathering: str, new: str, *, seq: int) -> int:
        """Copy a log up to an op."""
        self._is_forking = True
        try:
            last = await super().fork(gathering, new, seq=seq)
        finally:
            self._is_forking = False
        self.truth.forked(gathering, new, last)
        await self._chain(new)
        return last

    async def adopt(self, copy: LogCopy) -> int:
        """Take in a log that was exported, or the copy of a fork."""
        links = tuple(copy.links)
        last = await super().adopt(evolve(copy, links=links))
        if self._is_forking:
            return last
        ops = [
            Logged(one.op.value, one.by, one.epoch, one.time) for link in links for one in link.ops
        ]
        self.truth.adopted(copy.gathering, copy.first_seq, ops)
        await self._chain(copy.gathering)
        return last

    async def compact(
        self,
        gathering: str,
        *,
        up_to: int,
        state: bytes | None = None,
        forget_syncs: bool = False,
    ) -> int:
        """Leave out the ops up to a snapshot."""
        first_seq = await super().compact(
            gathering, up_to=up_to, state=state, forget_syncs=forget_syncs
        )
        self.truth.compacted(gathering, first_seq, up_to, state or b"", forget_syncs=forget_syncs)
        return first_seq

    async def _chain(self, gathering: str) -> None:
        """Go on with the chain that a copy has."""
        info = await self.describe(gathering)
        assert info is not None
        self.chained[gathering] = info.head, info.last_time


@define(eq=False, slots=False)
class TroubledStore(FailingStore):
    """One process's access to the disk, which tells the truth when a call begins and ends."""

    delay: float = 0.3
    """How many seconds a call takes that doesn't fail at once."""
    writes_events: bool = True
    """Whether lifecycle events are written, and at once."""
    writes_sleep: bool = True
    """Whether it is written, and at once, who sleeps."""

    @property
    def truth(self) -> Truth:
        assert isinstance(self.inner, Disk)
        return self.inner.truth

    def appends_go(self, what: Trouble, delay: float) -> None:
        """Have appends go like this, and changes of whole logs."""
        self.delay = delay
        self.trouble("append", what, seconds=delay)
        self.trouble("changing", what, seconds=delay)
        self.trouble("forget_events", "full" if what in ("busy", "full") else "none")

    def reads_go(self, what: Trouble) -> None:
        """Have reads go like this."""
        self.trouble("reading", what, seconds=self.delay)

    def events_go(self, what: Trouble) -> None:
        """Have events be written like this."""
        self.writes_events = what == "none"
        self.trouble("write_events", what, seconds=0.0 if what == "torn" else self.delay)

    def sleep_goes(self, what: Trouble) -> None:
        """Have it be written like this who sleeps."""
        self.writes_sleep = what == "none"
        self.trouble("write_sleep", what, seconds=self.delay)

    def began(self, method: str, gathering: str) -> None:
        if method == "append":
            self.truth.append_began(gathering)
        elif method in READING:
            self.truth.read_began(gathering)

    def ended(self, method: str, gathering: str, outcome: Outcome) -> None:
        if method == "append":
            self.truth.append_ended(gathering, outcome)
        elif method in READING:
            self.truth.read_ended(gathering)

    async def write_events(self, events: Sequence[LifecycleEvent]) -> None:
        await super().write_events(events)
        self.truth.events_known(events)
