"""The change queue: keeps what others did in a gathering until a reader takes it, one by one.

It is bounded in bytes. What doesn't fit isn't kept, and must be fetched once the reader gets there.
But nobody can fetch which of these ops are the reader's own. So 16 bytes are kept for each run of
its own ops, also if the reader never comes.
"""

from collections import deque
from itertools import repeat
from typing import Any

from attrs import define, field, frozen

from squire_gatherings._rules.runs import Runs
from squire_gatherings._values.errors import LogReplaced
from squire_gatherings._values.log import sync_of_each
from squire_gatherings._values.messages import Dispersed, SyncRun
from squire_gatherings._values.op import Op

_COST = 200
"""About how many bytes of memory a change takes at least."""


@frozen
class Change:
    """An op that somebody else submitted; `by` is None for an anonymous one.

    `time` is when it was committed, in milliseconds since 1970 (UTC); 0 where that isn't known, or
    wasn't asked for. `sync` is what it came from: it names the other ops that were submitted with
    it; None where that isn't known, or wasn't asked for.
    """

    seq: int
    by: str | None
    op: dict[str, Any]
    time: int = 0
    sync: SyncRun | None = None


@frozen
class Missing:
    """The ops after the seq `since` must be fetched before there's another change."""

    since: int


@frozen
class _Kept:
    seq: int
    by: str | None
    op: Op
    time: int
    sync: SyncRun | None


@define(eq=False)
class ChangeQueue:
    """The changes that a reader hasn't taken yet, and the dispersals between them."""

    max_bytes: int
    position: int = 0
    """The reader has passed everything up to this seq."""
    arrived: int = 0
    """Everything up to this seq was handed in, kept or not."""
    _kept: deque[_Kept] = field(factory=deque)
    _size: int = 0
    _behind: bool = False
    """Whether something between what is kept and `arrived` isn't kept."""
    _own: Runs = field(factory=Runs)
    """The seqs of the reader's own ops that it may still meet."""
    _ends: deque[tuple[int, Dispersed]] = field(factory=deque)
    _replaced: LogReplaced | None = None
    """What the reader is told before anything else."""

    def begin(self, position: int, arrived: int) -> None:
        """Begin with what follows `position`; nothing of it is kept up to `arrived`."""
        self.position = position
        self.arrived = max(position, arrived)
        self._behind = position < arrived

    def start_over(self, why: LogReplaced) -> None:
        """Drop what the reader hasn't taken, since another log replaced the one it came from.

        The reader is told `why`, once, and goes on with the first op of the new log.
        """
        self._kept.clear()
        self._ends.clear()
        self._own.clear()
        self._size = 0
        self._replaced = why
        self.begin(0, 0)

    def add(
        self, seq: int, by: str | None, op: Op, time: int = 0, sync: SyncRun | None = None
    ) -> None:
        """Note that somebody else's op has arrived."""
        if seq <= self.arrived:
            return
        self.arrived = seq
        if self._behind or (self._kept and self._is_full(op)):
            self._behind = True
        else:
            self._keep(_Kept(seq, by, op, time, sync))

    def pass_over(self, seqs: range) -> None:
        """Note that these ops are the reader's own."""
        self._own.add(range(max(seqs.start, self.position + 1), seqs.stop))
        self.arrived = max(self.arrived, seqs.stop - 1)

    def skip_to(self, seq: int) -> None:
        """Note that everything up to `seq` came as a state, not as ops."""
        if seq > self.arrived:
            self.arrived = seq
            self._behind = True

    def end(self, notice: Dispersed) -> None:
        """Note that the gathering dispersed after what has arrived by now."""
        self._ends.append((self.arrived, notice))

    def refill(
        self,
        first: int,
        ops: tuple[Op, ...],
        by: tuple[str | None, ...],
        times: tuple[int, ...] = (),
        syncs: tuple[SyncRun, ...] = (),
    ) -> None:
        """Hand in the ops from `first` on that were fetched for `Missing`.

        `times` has the time of each, or is empty; `syncs` are those that they came from, as far as
        they are known. Ops beyond `arrived` are left out, since nobody knows yet whether they are
        the reader's own.
        """
        last = self._kept[-1].seq if self._kept else self.position
        of_each = sync_of_each(syncs, first)
        all_of_them = zip(ops, by, times or repeat(0), of_each, strict=False)
        for seq, (op, who, time, sync) in enumerate(all_of_them, start=first):
            if seq <= last or seq > self.arrived:
                continue
            last = seq
            if seq not in self._own:
                self._keep(_Kept(seq, who, op, time, sync))
        if not self._kept:
            # Everything on the page was the reader's own.
            self._pass(last)
        if last >= self.arrived:
            self._behind = False

    def take(self) -> Change | Dispersed | LogReplaced | Missing | None:
        """Return what comes next for the reader; None if it must wait."""
        if self._replaced is not None:
            replaced, self._replaced = self._replaced, None
            return replaced
        if self._ends and self._next_seq() > self._ends[0][0]:
            return self._ends.popleft()[1]
        if self._kept:
            kept = self._kept.popleft()
            self._size -= len(kept.op.json)
            self._pass(kept.seq)
            return Change(kept.seq, kept.by, kept.op.value, kept.time, kept.sync)
        if self._behind:
            return Missing(self.position)
        self._pass(self.arrived)
        return None

    def _next_seq(self) -> int:
        """Return a seq before which the reader meets nothing more."""
        if self._kept:
            return self._kept[0].seq
        return self.position + 1 if self._behind else self.arrived + 1

    def _is_full(self, op: Op) -> bool:
        # Small ops cost memory, too.
        bytes_kept = max(self._size, len(self._kept) * _COST)
        return bytes_kept + len(op.json) > self.max_bytes

    def _keep(self, kept: _Kept) -> None:
        self._kept.append(kept)
        self._size += len(kept.op.json)

    def _pass(self, seq: int) -> None:
        self.position = max(self.position, seq)
        self._own.drop_to(self.position)
