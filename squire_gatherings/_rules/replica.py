"""The replica: what a client has of a gathering, in order, each op once, and its own among them.

Go by the seqs alone and a client can't tell, after a lost connection, which of the ops that it
missed are its own: a sync that was sent but not answered is *in doubt*. Until the server has
answered it (syncs are repeated with the same id, and answered again), what arrives is held back.
"""

from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

import msgspec
from attrs import define, field

from squire_gatherings._rules.behaviour import (
    Behaviour,
    Stamp,
    Submission,
    encode_state,
    restore_state,
)
from squire_gatherings._rules.change_queue import ChangeQueue
from squire_gatherings._rules.held import HeldOps, HeldState, HeldSync
from squire_gatherings._rules.runs import Runs
from squire_gatherings._rules.server_clock import ServerClock
from squire_gatherings._values.errors import (
    GatheringsError,
    LogReplaced,
    OpConflict,
    OpRejected,
)
from squire_gatherings._values.identity import ANONYMOUS, Identity
from squire_gatherings._values.log import sync_of_each
from squire_gatherings._values.messages import Sync, SyncRun
from squire_gatherings._values.op import Op

_decode = msgspec.json.Decoder().decode


class Gap(GatheringsError):
    """The server left out an op: a fault of its own, or of what is between."""

    code = "gap"


class Diverged(GatheringsError):
    """Our own ops mean something else to the server: begin again from its state."""

    code = "diverged"


@define(eq=False)
class Pending:
    """A sync of ours that hasn't been answered."""

    sync: Sync
    submitted_at: float = 0.0
    """When that was, by the steady clock."""
    sent: bool = False
    in_doubt: bool = False
    """Whether it may have been applied without our being told."""


@define(eq=False)
class Replica:
    """A gathering as one client knows it. Without a behaviour, it has ops but no state.

    With `optimistic`, the state shows our own unanswered ops on top of what is certain.
    """

    changes: ChangeQueue
    make_behaviour: Callable[[], Behaviour] | None
    optimistic: bool = False
    clock: ServerClock | None = None
    """The server's, if it tells the times of ops."""
    identity: Identity = ANONYMOUS
    seq: int = 0
    """Everything up to this seq has arrived."""
    epoch: str | None = None
    """The epoch of the op `seq`, where it's known."""
    pending: dict[str, Pending] = field(factory=dict)
    """Our unanswered syncs by id, in the order in which they were submitted."""
    _behaviour: Behaviour | None = field(init=False)
    _held: deque[HeldOps | HeldSync | HeldState] = field(factory=deque)
    _own: Runs = field(factory=Runs)
    """Our own seqs among what is held, or still to come."""
    _doubts: int = 0
    """How many of `pending` are in doubt."""
    _time: int = 0
    """The time of the last op that the state has."""
    _others: int = 0
    """The last seq in the state that isn't known to be ours."""
    _view: Behaviour | None = None

    def __attrs_post_init__(self) -> None:
        self._behaviour = None if self.make_behaviour is None else self.make_behaviour()

    def identify(self, identity: Identity) -> None:
        """We are this to the server: what isn't answered is judged anew for the state shown."""
        if identity != self.identity:
            self.identity = identity
            self._view = None

    # What arrives.

    def restored(self, seq: int, state: bytes, epoch: str | None = None) -> None:
        """The server gave its state after `seq` instead of ops. Raises `Diverged`."""
        if seq > self.seq or (seq == 0 and not self.seq):
            self.seq, self.epoch = seq, epoch
            self._held.append(HeldState(seq, state))
            self._release()

    def arrived(
        self,
        first: int,
        ops: tuple[Op, ...],
        by: tuple[str | None, ...],
        epoch: str | None = None,
        times: tuple[int, ...] = (),
        syncs: tuple[SyncRun, ...] = (),
    ) -> bool:
        """Take in ops from `first` on; False if they were all there. Raises `Gap`, `Diverged`.

        `epoch` is the last one's. `times` has the time of each, or is empty; `syncs` are those that
        they came from, as far as they are known.
        """
        if first > self.seq + 1:
            raise Gap(f"op {first} came after {self.seq}")
        if times and self.clock is not None:
            self.clock.heard(times[-1])
        new = self.seq + 1 - first
        if new >= len(ops):
            return False
        self._held.append(HeldOps(self.seq + 1, ops[new:], by[new:], times[new:], syncs))
        self.seq, self.epoch = first + len(ops) - 1, epoch
        self._release()
        return True

    def skip_to(self, seq: int, epoch: str | None = None) -> None:
        """Begin after `seq`, without what was before: only where there's no state."""
        self.seq, self.epoch = seq, epoch

    def start_over(self) -> None:
        """Forget everything but what we submitted: the server will give its state."""
        self.seq, self.epoch = 0, None
        self._held.clear()
        self._behaviour = None if self.make_behaviour is None else self.make_behaviour()
        self._view = None
        self._others = self._time = 0

    def replaced(self, why: LogReplaced) -> None:
        """The log is another one: start over, and tell the reader.

        What isn't answered may be new to that log; it is based on nothing that is in it.
        """
        self.start_over()
        self._own.clear()
        self.changes.start_over(why)
        for pending in self.pending.values():
            pending.sync = Sync(pending.sync.id, 0, pending.sync.ops)

    # What is submitted.

    def submit(self, sync_id: str, ops: tuple[Op, ...]) -> Pending:
        """Take a sync of ours; the caller sends it, and sends it again after `lost`."""
        submitted_at = 0.0 if self.clock is None else self.clock.steady_clock()
        pending = Pending(Sync(sync_id, self.seq, ops), submitted_at)
        self.pending[sync_id] = pending
        self._view = None
        return pending

    def synced(
        self,
        sync_id: str,
        seqs: tuple[int, ...],
        logged: tuple[Op, ...] | None = None,
        epoch: str | None = None,
        *,
        time: int = 0,
        stands_for_ops: bool = True,
    ) -> bool:
        """The server applied a sync of ours; False if it isn't pending. Raises `Diverged`.

        `logged` are the ops as they stand in the log; None where they must be judged again to
        know. `epoch` is the last one's; `time` is 0 where it isn't known. Where this answer stands
        for its ops, they don't come as such when all before them have; otherwise they do.
        """
        pending = self._no_longer_pending(sync_id)
        if pending is None:
            return False
        if time and self.clock is not None:
            self.clock.answered(time, pending.submitted_at)
        own = range(seqs[0], seqs[-1] + 1)
        self._own.add(own)
        if stands_for_ops and own.start == self.seq + 1:
            # Those before it were forwarded before; it itself won't be.
            self._held.append(HeldSync(own.start, pending.sync, logged, time))
            self.seq, self.epoch = own.stop - 1, epoch
        self._release()
        return True

    def failed(self, sync_id: str) -> bool:
        """The server refused a sync of ours for good, or it was withdrawn unsent.

        False if it isn't pending. Raises `Diverged`.
        """
        if self._no_longer_pending(sync_id) is None:
            return False
        self._release()
        return True

    def lost(self) -> None:
        """The connection was lost: what was sent and not answered may have been applied."""
        self.doubt()
        for pending in self.pending.values():
            pending.sent = False

    def doubt(self) -> None:
        """What arrives now may have ops of ours in it of which we aren't told yet."""
        for pending in self.pending.values():
            if pending.sent:
                self._doubts += not pending.in_doubt
                pending.in_doubt = True

    def _no_longer_pending(self, sync_id: str) -> Pending | None:
        pending = self.pending.pop(sync_id, None)
        if pending is not None:
            self._doubts -= pending.in_doubt
            self._view = None
        return pending

    # What is shown.

    def snapshot(self) -> Any:
        """Return a copy of the state. Raises `LookupError` without a behaviour."""
        if self._behaviour is None:
            raise LookupError("the gathering was joined without a behaviour")
        if not self.optimistic or not self.pending:
            return _decode(encode_state(self._behaviour))
        if self._view is None:
            self._view = self._make_view(self._behaviour)
        return _decode(encode_state(self._view))

    def _make_view(self, certain: Behaviour) -> Behaviour:
        state = encode_state(certain)
        poison: set[str] = set()
        while True:
            view = self._new_behaviour(state)
            bad = self._add_pending(view, poison)
            if bad is None:
                return view
            # It may have folded some of it. The server will refuse it, or crash over it.
            poison.add(bad)

    def _new_behaviour(self, state: bytes) -> Behaviour:
        assert self.make_behaviour is not None
        behaviour = self.make_behaviour()
        restore_state(behaviour, state)
        return behaviour

    def _add_pending(self, view: Behaviour, poison: set[str]) -> str | None:
        """Put what isn't answered on top; return the id of one over which the behaviour raises."""
        seq = self.seq
        time = 0 if self.clock is None else max(self._time, self.clock.now())
        for sync_id, pending in self.pending.items():
            if sync_id in poison:
                continue
            try:
                ops = self._judged(view, pending.sync, seq, time)
            except (OpRejected, OpConflict):
                continue
            except Exception:
                return sync_id
            if not _folds(view, ops, seq, time, self.identity.user):
                return sync_id
            seq += len(ops)
        return None

    # Letting go what is held.

    def _release(self) -> None:
        if self._doubts:
            return
        while self._held:
            held = self._held.popleft()
            self._view = None
            if isinstance(held, HeldState):
                self._restore(held)
            elif isinstance(held, HeldSync):
                logged = self._logged(held)
                by = repeat(self.identity.user)
                self._fold(held.first, logged, by, repeat(held.time))
                self.changes.pass_over(range(held.first, held.last + 1))
            else:
                self._fold(held.first, held.ops, held.by, held.times or repeat(0))
                self._show(held)
            self._own.drop_to(held.last)
        self._own.drop_to(self.seq)

    def _restore(self, held: HeldState) -> None:
        if self.make_behaviour is not None:
            try:
                self._behaviour = self._new_behaviour(held.state)
            except Exception as error:
                raise Diverged(f"the server's state is none of ours: {error!r}") from error
        self._others = held.last
        self.changes.skip_to(held.last)
        for own in self._own:
            if own.start > held.last:
                break
            self.changes.pass_over(range(own.start, min(own.stop, held.last + 1)))

    def _fold(
        self,
        first: int,
        ops: tuple[Op, ...],
        by_whom: Iterable[str | None],
        times: Iterable[int],
    ) -> None:
        if self._behaviour is not None:
            all_of_them = zip(ops, by_whom, times, strict=False)
            for seq, (op, by, time) in enumerate(all_of_them, start=first):
                self._behaviour.fold(op, Stamp(seq, time, by))
                self._time = time

    def _show(self, held: HeldOps) -> None:
        own = self._own
        syncs = sync_of_each(held.syncs, held.first)
        all_of_them = zip(held.ops, held.by, held.times or repeat(0), syncs, strict=False)
        for seq, (op, by, time, sync) in enumerate(all_of_them, start=held.first):
            if own and seq in own:
                self.changes.pass_over(range(seq, seq + 1))
            else:
                self._others = seq
                self.changes.add(seq, by, op, time, sync)

    # What the behaviour says to our own.

    def _logged(self, applied: HeldSync) -> tuple[Op, ...]:
        """Return the ops that the server logged: its judgement follows from the state alone."""
        if applied.logged is not None:
            return applied.logged
        sync = applied.sync
        if self._behaviour is None:
            return sync.ops
        try:
            ops = self._judged(self._behaviour, sync, applied.first - 1, applied.time)
        except (OpRejected, OpConflict) as error:
            raise Diverged(f"the server took what we would refuse: {error}") from None
        if len(ops) != len(sync.ops):
            raise Diverged(f"the server logged {len(sync.ops)} ops, we would have {len(ops)}")
        return ops

    def _judged(self, behaviour: Behaviour, sync: Sync, seq: int, time: int) -> tuple[Op, ...]:
        # A client that lacks only its own ops isn't behind.
        base = seq if self._others <= sync.base else sync.base
        return tuple(behaviour.judge(sync.ops, Submission(self.identity, base, seq, time)))


def _folds(
    behaviour: Behaviour, ops: tuple[Op, ...], after: int, time: int, by: str | None
) -> bool:
    try:
        for seq, op in enumerate(ops, start=after + 1):
            behaviour.fold(op, Stamp(seq, time, by))
    except Exception:
        return False
    return True
